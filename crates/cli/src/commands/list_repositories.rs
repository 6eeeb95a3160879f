//! `dhow list-repositories`.

use dhow_ops::{ListRepositoriesRequest, TagRegex};
use dhow_transport::Kind;

use crate::app::App;
use crate::failure::Failure;
use crate::options::{EndpointArgs, Only, OutputFormat, RetryArgs, refuse};
use crate::render::{json, streams};

/// The arguments of `list-repositories`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow list-repositories registry.local
  dhow list-repositories --regex ^team/ --output table registry.local:5000")]
pub(crate) struct Args {
    /// The registry, and perhaps a path in it: [docker://]HOST[:PORT][/PATH]
    registry: String,
    /// Only repositories whose path matches this regular expression somewhere
    #[arg(long, value_name = "REGEX")]
    regex: Option<String>,
    #[command(flatten)]
    endpoint: EndpointArgs<Only>,
    #[command(flatten)]
    retry: RetryArgs,
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let regex = self.regex.as_deref().map(TagRegex::parse);
        let request = ListRepositoriesRequest {
            name: self.registry.clone(),
            endpoint: self.endpoint.image("", None)?.endpoint,
            regex: regex.transpose().map_err(|error| refuse("regex", &error))?,
            retry: self.retry.options(),
        };
        let session = app.session()?;
        let list = dhow_ops::list_repositories(&session, &request).await;
        let list = list.map_err(|error| {
            let refused = matches!(
                error.kind(),
                Kind::NotFound | Kind::Denied | Kind::Unauthorized | Kind::Unsupported
            );
            let failure = Failure::from(error).no_image();
            if refused {
                // Docker Hub and most public registries.
                failure.hint("name repositories one by one if this registry cannot be listed")
            } else {
                failure
            }
        })?;
        if app.global.output == OutputFormat::Table {
            return streams::lines(&list.repositories);
        }
        json::print(&list)
    }
}
