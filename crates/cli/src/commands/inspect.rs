//! `dhow inspect`.

use dhow_ops::{InspectMode, InspectRequest, Inspection};

use crate::app::App;
use crate::failure::Failure;
use crate::options::{EndpointArgs, Only, RetryArgs, parse_bool};
use crate::render::{json, streams, template};

/// The arguments of `inspect`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow inspect docker://docker.io/library/centos:7
  dhow inspect --format '{{.Digest}}' oci:./target:centos:7
  dhow inspect --config --raw docker://quay.io/podman/stable")]
pub(crate) struct Args {
    /// The image: TRANSPORT:NAME
    image: String,
    /// Print the manifest as it is; with --config, the config as it is
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    raw: bool,
    /// Print the config of the image
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    config: bool,
    /// Print by a Go template
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Leave out the tags of the repository
    #[arg(long, short = 'n', num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    no_tags: bool,
    #[command(flatten)]
    endpoint: EndpointArgs<Only>,
    #[command(flatten)]
    retry: RetryArgs,
}

impl Args {
    pub(crate) async fn run(mut self, app: &App) -> Result<(), Failure> {
        // COMPAT(skopeo): an empty template is none.
        self.format = self.format.filter(|template| !template.is_empty());
        if self.raw && self.format.is_some() {
            return Err(Failure::usage("raw output does not support format option"));
        }
        let session = app.session()?;
        let request = InspectRequest {
            image: self.endpoint.image(&self.image, None)?,
            mode: self.mode(),
            retry: self.retry.options(),
        };
        let format = self.format.as_deref();
        match dhow_ops::inspect(&session, &request).await? {
            Inspection::Bytes(bytes) => streams::write(&bytes),
            Inspection::Summary(summary) => match format.filter(|text| !template::is_json(text)) {
                Some(text) => streams::write(template::summary(text, &summary)?.as_bytes()),
                None => json::print(&*summary),
            },
            Inspection::Config(config) => match format.filter(|text| !template::is_json(text)) {
                Some(text) => streams::write(template::config(text, &config)?.as_bytes()),
                None => json::print(&*config),
            },
        }
    }

    fn mode(&self) -> InspectMode {
        match (self.config, self.raw) {
            (true, true) => InspectMode::RawConfig,
            (true, false) => InspectMode::Config,
            (false, true) => InspectMode::Raw,
            // Tags cost a request or many: only an output that shows them asks for them.
            (false, false) => InspectMode::Summary {
                tags: !self.no_tags && self.format.as_deref().is_none_or(template::shows_tags),
            },
        }
    }
}
