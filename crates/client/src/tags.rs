//! Tags and repositories, page by page (OCI distribution-spec v1.1, *Content Discovery*).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use dhow_model::{Digest, Repository, Tag};
use futures_core::stream::BoxStream;
use futures_util::stream::{self, StreamExt as _};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::channel::Channel;
use crate::endpoint::Endpoint;
use crate::request::Request;
use crate::{Error, ErrorKind, RepositoryClient};

/// The largest page, in bytes.
const MAX_PAGE: usize = 4 * 1024 * 1024;
/// How many pages are read.
const MAX_PAGES: usize = 10_000;

/// One page of a list, as the registry sent it.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: T,
    pub(crate) next: Option<String>,
}

#[derive(Deserialize)]
struct TagPage {
    tags: Option<Vec<Option<String>>>,
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

/// Follows pages, and sees to it that there is an end.
#[derive(Debug)]
pub(crate) struct Pages {
    next: Option<String>,
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl Pages {
    pub(crate) fn new(first: String) -> Self {
        Self {
            next: Some(first),
            seen: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Takes the address of the next page.
    pub(crate) fn take(&mut self) -> Result<Option<String>, Error> {
        let Some(path) = self.next.take() else {
            return Ok(None);
        };
        if !self.seen.insert(self.hasher.hash_one(&path)) {
            return Err(Error::protocol(
                "the registry's list leads back to a page that was read already",
            ));
        }
        if self.seen.len() > MAX_PAGES {
            return Err(Error::protocol(format!(
                "the registry's list has more than {MAX_PAGES} pages"
            )));
        }
        Ok(Some(path))
    }

    pub(crate) fn set(&mut self, next: Option<String>) {
        self.next = next;
    }
}

impl RepositoryClient {
    /// Lists the tags, in the order of the registry.
    pub fn tags(&self) -> BoxStream<'static, Result<Tag, Error>> {
        let client = self.clone();
        let pages = Pages::new(client.path("tags/list"));
        listed(pages, move |path| {
            let client = client.clone();
            Box::pin(async move { client.tag_page(path).await })
        })
    }

    /// Returns the tags of the first page.
    pub(crate) async fn first_tags(&self) -> Result<Vec<Tag>, Error> {
        let page = self.tag_page(self.path("tags/list")).await?;
        Ok(page.items.into_iter().filter_map(Result::ok).collect())
    }

    async fn tag_page(&self, path: String) -> Result<Page<Vec<Result<Tag, Error>>>, Error> {
        let what = format!("the tags of `{}` cannot be listed", self.repository);
        let request = self.request_to(Method::GET, path);
        let page = page::<TagPage>(&self.channel, request, what).await?;
        let tags = page.items.tags.unwrap_or_default();
        // COMPAT(skopeo): null, empty and digest-shaped entries are passed over.
        let tags = tags
            .into_iter()
            .flatten()
            .filter(|tag| !tag.is_empty() && Digest::parse(tag).is_err());
        let items = tags
            .map(|tag| {
                Tag::parse(&tag).map_err(|source| {
                    Error::protocol(format!(
                        "the registry lists a tag of `{}` that is none",
                        self.repository
                    ))
                    .caused_by(source)
                })
            })
            .collect();
        Ok(Page {
            items,
            next: page.next,
        })
    }
}

/// Lists the repositories of a registry.
pub(crate) fn catalog(
    endpoint: &Endpoint,
    registry: &str,
) -> BoxStream<'static, Result<Repository, Error>> {
    let place = match catalog_place(registry) {
        Ok(place) => place,
        Err(error) => return stream::iter([Err(error)]).boxed(),
    };
    let endpoint = endpoint.clone();
    listed(Pages::new("/v2/_catalog".to_owned()), move |path| {
        let (endpoint, place) = (endpoint.clone(), place.clone());
        Box::pin(async move {
            let channel = endpoint.catalog_channel(place.clone()).await?;
            catalog_page(&channel, &place, path).await
        })
    })
}

/// Returns the repository under which credentials and challenges of the registry as such are kept.
pub(crate) fn catalog_place(registry: &str) -> Result<Repository, Error> {
    Repository::at(registry, "catalog").map_err(|source| {
        Error::new(
            ErrorKind::Settings,
            format!("`{registry}` is not the name of a registry"),
        )
        .caused_by(source)
    })
}

async fn catalog_page(
    channel: &Channel,
    place: &Repository,
    path: String,
) -> Result<Page<Vec<Result<Repository, Error>>>, Error> {
    let what = format!(
        "the repositories of `{}` cannot be listed",
        place.registry()
    );
    let request = Request::to_path(Method::GET, path);
    let page = page::<CatalogPage>(channel, request, what).await?;
    let names = page.items.repositories.unwrap_or_default();
    let items = names
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| {
            place.sibling(name).map_err(|source| {
                Error::protocol("the registry lists a repository that is none").caused_by(source)
            })
        })
        .collect();
    Ok(Page {
        items,
        next: page.next,
    })
}

/// Fetches one page and parses it.
async fn page<T: for<'de> Deserialize<'de>>(
    channel: &Channel,
    request: Request,
    what: String,
) -> Result<Page<T>, Error> {
    let answer = channel
        .send(request)
        .await
        .map_err(|error| error.during(what.clone()))?;
    if answer.status() != StatusCode::OK {
        return Err(channel.refusal(answer, what).await);
    }
    let next = answer.next_page();
    let body = answer
        .bytes(MAX_PAGE)
        .await
        .map_err(|error| error.during(what.clone()))?;
    let items = serde_json::from_slice(&body)
        .map_err(|source| Error::protocol("the answer is not a list").caused_by(source))
        .map_err(|error| error.during(what))?;
    Ok(Page { items, next })
}

type PageFuture<T> = std::pin::Pin<
    Box<dyn Future<Output = Result<Page<Vec<Result<T, Error>>>, Error>> + Send + 'static>,
>;

/// Turns pages into a stream of their items. After an error there is nothing more.
fn listed<T, F>(pages: Pages, fetch: F) -> BoxStream<'static, Result<T, Error>>
where
    T: Send + 'static,
    F: Fn(String) -> PageFuture<T> + Send + 'static,
{
    struct State<T, F> {
        pages: Pages,
        ready: VecDeque<Result<T, Error>>,
        fetch: F,
    }
    let state = State {
        pages,
        ready: VecDeque::new(),
        fetch,
    };
    stream::try_unfold(state, |mut state| async move {
        loop {
            if let Some(item) = state.ready.pop_front() {
                return Ok(Some((item?, state)));
            }
            let Some(path) = state.pages.take()? else {
                return Ok(None);
            };
            let page = (state.fetch)(path).await?;
            state.pages.set(page.next);
            state.ready.extend(page.items);
        }
    })
    .boxed()
}
