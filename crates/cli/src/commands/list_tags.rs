//! `dhow list-tags`.

use dhow_ops::ListTagsRequest;

use crate::app::App;
use crate::failure::Failure;
use crate::options::{EndpointArgs, Only, OutputFormat, RetryArgs, TagFilterArgs};
use crate::render::{json, streams};

/// The arguments of `list-tags`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow list-tags docker://docker.io/library/centos
  dhow list-tags oci:./target
  dhow list-tags --tags-regex ^7 --newest 3 --output table docker://docker.io/library/centos
  dhow list-tags docker-archive:images.tar")]
pub(crate) struct Args {
    /// The repository, without tag and digest: docker://REPOSITORY, oci:DIR or docker-archive:FILE
    repository: String,
    #[command(flatten)]
    filter: TagFilterArgs,
    #[command(flatten)]
    endpoint: EndpointArgs<Only>,
    #[command(flatten)]
    retry: RetryArgs,
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let session = app.session()?;
        let image = self.endpoint.image(&self.repository, None)?;
        let request = ListTagsRequest {
            image,
            filter: self.filter.filter()?,
            retry: self.retry.options(),
        };
        let list = dhow_ops::list_tags(&session, &request).await;
        let list = list.map_err(|error| Failure::from(error).no_image())?;
        if app.global.output == OutputFormat::Table {
            return streams::lines(&list.tags);
        }
        json::print(&list)
    }
}
