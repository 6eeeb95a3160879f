//! `dhow delete`.

use dhow_ops::DeleteRequest;

use crate::app::App;
use crate::failure::Failure;
use crate::options::{EndpointArgs, Only, RetryArgs};

/// The arguments of `delete`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow delete docker://registry.example.com/team/app:old
  dhow delete oci:./target:centos:7")]
pub(crate) struct Args {
    /// The image: docker://REPOSITORY:TAG or oci:DIR:NAME
    image: String,
    #[command(flatten)]
    endpoint: EndpointArgs<Only>,
    #[command(flatten)]
    retry: RetryArgs,
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let session = app.session()?;
        let image = self.endpoint.image(&self.image, None)?;
        let request = DeleteRequest {
            image,
            retry: self.retry.options(),
        };
        let deleted = dhow_ops::delete(&session, &request).await;
        deleted.map_err(|error| Failure::from(error).no_image())
    }
}
