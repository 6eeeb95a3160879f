//! `dhow doctor`.

use dhow_ops::{DoctorRequest, Level};

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::options::{EndpointArgs, Only, OutputFormat, parse_bool};
use crate::render::doctor;

/// The arguments of `doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow doctor
  dhow doctor docker://quay.io/podman/stable
  dhow doctor --push --output json docker://localhost:5000/team/app:1")]
pub(crate) struct Args {
    /// The image; without one, only the configuration is examined
    image: Option<String>,
    /// The image has to be writable, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    push: bool,
    #[command(flatten)]
    endpoint: EndpointArgs<Only>,
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let session = app.session()?;
        let named = self
            .endpoint
            .image(self.image.as_deref().unwrap_or_default(), None)?;
        let request = DoctorRequest {
            endpoint: named.endpoint.clone(),
            image: self.image.is_some().then_some(named),
            push: self.push,
        };
        let report = dhow_ops::doctor(&session, &request).await?;
        let worst = report
            .worst()
            .filter(|finding| finding.level == Level::Error);
        let exit = worst.map(|finding| finding.kind.map_or(Exit::General, Exit::of));
        match app.global.output {
            OutputFormat::Text | OutputFormat::Table => doctor::text(&report)?,
            OutputFormat::Json => doctor::json(&report, exit)?,
        }
        match (worst, exit) {
            (Some(finding), Some(exit)) => {
                Err(Failure::new(exit, format!("{}: {}", finding.check, finding.message)).told())
            }
            _ => Ok(()),
        }
    }
}
