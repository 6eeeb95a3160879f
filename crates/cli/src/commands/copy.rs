//! `dhow copy`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhow_model::{Digest, Reference};
use dhow_ops::{CopyOptions, CopyReport, CopyRequest};

use crate::app::{App, Voice};
use crate::failure::{Exit, Failure};
use crate::options::{
    Destination, EndpointArgs, LayerArgs, OutputFormat, RetryArgs, SharedAuth, Source, parse_bool,
    parse_format, select,
};
use crate::render::{progress, result};

/// The arguments of `copy`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow copy docker://docker.io/library/centos:7 oci:./target:centos:7
  dhow copy --dest-creds=user:TOKEN oci:./target:centos:7 docker://registry.local/my/centos:7
  dhow copy --all docker://quay.io/podman/stable docker://registry.local/mirror/podman:stable
  dhow copy docker://docker.io/library/centos:7 docker-archive:centos.tar:centos:7
  dhow copy docker-daemon:my/app:1 docker://registry.local/my/app:1
  dhow copy --dry-run --multi-arch linux/amd64 docker://quay.io/podman/stable dir:./podman")]
pub(crate) struct Args {
    /// Where the image is: TRANSPORT:NAME
    source: String,
    /// Where it is to be: TRANSPORT:NAME
    destination: String,
    /// Copy all images of an index
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    all: bool,
    /// Which images of an index: system, all, index-only, or platforms such as linux/amd64,linux/arm64
    #[arg(long, value_name = "WHICH")]
    multi_arch: Option<String>,
    /// Rewrite the index so that it lists only the platforms that were copied
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    strip_removed_platforms: bool,
    /// Fail rather than change a manifest
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    preserve_digests: bool,
    /// Format of the manifests at the destination: oci, v2s2 or v2s1 [default: that of the source, where the destination takes it]
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,
    /// Print what would be copied, and copy nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dry_run: bool,
    /// Write the digest of what was copied to this file
    #[arg(long, value_name = "PATH")]
    digestfile: Option<PathBuf>,
    /// Copy this many blobs at once, and no more; 0 means as many as bring speed
    #[arg(long, value_name = "N", default_value_t = 0)]
    image_parallel_copies: usize,
    /// Do not copy signatures (this version copies none)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    remove_signatures: bool,
    /// Another name for the image in a `docker-archive:` destination; may be given more than once
    #[arg(long, value_name = "NAME:TAG", value_delimiter = ',')]
    additional_tag: Vec<String>,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    shared: SharedAuth,
    #[command(flatten)]
    source_endpoint: EndpointArgs<Source>,
    #[command(flatten)]
    destination_endpoint: EndpointArgs<Destination>,
    #[command(flatten)]
    retry: RetryArgs,
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let mut destination = self
            .destination_endpoint
            .image(&self.destination, Some(&self.shared))?;
        destination.endpoint.additional_tags = self.additional_tags()?;
        let layers = self.layers.options(&self.destination)?;
        let request = CopyRequest {
            source: self
                .source_endpoint
                .image(&self.source, Some(&self.shared))?,
            destination,
            options: CopyOptions {
                select: select(self.all, self.multi_arch.as_deref())?,
                strip_removed_platforms: self.strip_removed_platforms,
                preserve_digests: self.preserve_digests,
                format: parse_format(self.format.as_deref())?,
                layers,
                dry_run: self.dry_run,
                parallel: NonZeroUsize::new(self.image_parallel_copies),
                retry: self.retry.options(),
            },
        };
        let session = app.session()?;
        let shown = progress::start(app, app.global.quiet || self.dry_run);
        let copied = dhow_ops::copy(&session, &request, Arc::clone(&shown.progress)).await;
        shown.finish();
        let copied = copied?;
        if let (Some(path), false) = (&self.digestfile, self.dry_run) {
            write_digest(path, &copied.report.digest)?;
        }
        Self::show(app, &request, &copied)
    }

    fn show(app: &App, request: &CopyRequest, copied: &CopyReport) -> Result<(), Failure> {
        match (&copied.report.plan, app.global.output) {
            (_, OutputFormat::Json) => result::json(request, copied),
            (Some(plan), _) => result::plan(request, plan),
            (None, _) if app.global.quiet || app.voice == Voice::Skopeo => Ok(()),
            (None, _) => {
                result::text(request, copied);
                Ok(())
            }
        }
    }
}

impl Args {
    /// Returns the additional names, in full.
    fn additional_tags(&self) -> Result<Vec<Reference>, Failure> {
        let tags = self.additional_tag.iter().map(|text| {
            let reference = Reference::parse(text).map_err(|error| {
                Failure::usage(format!("error parsing additional-tag '{text}'")).caused_by(&error)
            })?;
            if reference.digest.is_some() || reference.tag.is_none() {
                return Err(Failure::usage(format!(
                    "additional-tag '{text}' must be a tagged reference"
                ))
                .hint("write `NAME:TAG`"));
            }
            Ok(reference)
        });
        tags.collect()
    }
}

/// Writes the digest without a newline, whole or not at all.
fn write_digest(path: &Path, digest: &Digest) -> Result<(), Failure> {
    let fail = |error: &std::io::Error| {
        Failure::new(
            Exit::Local,
            format!("cannot write the digest to `{}`", path.display()),
        )
        .caused_by(error)
    };
    // What is no plain file, such as /dev/stdout, cannot be replaced.
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(path, digest.to_string()).map_err(|error| fail(&error));
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    std::fs::write(&aside, digest.to_string())
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(|error| {
            drop(std::fs::remove_file(&aside));
            fail(&error)
        })
}
