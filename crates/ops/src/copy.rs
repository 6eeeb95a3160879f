//! Copy: an image or an index from one place to another.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhow_copy::{Format, Job, LayerOptions, Options, Progress, Report, Select, Standing};

use crate::{Error, ImageName, RetryOptions, Session};

/// What to copy, where to, and how.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// Where the image is.
    pub source: ImageName,
    /// Where it is to be.
    pub destination: ImageName,
    /// How.
    pub options: CopyOptions,
}

/// How to copy.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// Which images of an index.
    pub select: Select,
    /// Rewrite the index so that it lists only what was copied.
    pub strip_removed_platforms: bool,
    /// Fail rather than change a manifest.
    pub preserve_digests: bool,
    /// The format of the copied manifests; `None` keeps what the destination takes.
    pub format: Option<Format>,
    /// How layers are to arrive.
    pub layers: LayerOptions,
    /// Make a plan and report it; change nothing.
    pub dry_run: bool,
    /// The most blobs in flight at once; `None`: as many as bring something.
    pub parallel: Option<NonZeroUsize>,
    /// Trying again.
    pub retry: RetryOptions,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            select: Select::System,
            strip_removed_platforms: false,
            preserve_digests: false,
            format: None,
            layers: LayerOptions::default(),
            dry_run: false,
            parallel: None,
            retry: RetryOptions::default(),
        }
    }
}

/// What came of a copy.
#[derive(Clone, Debug)]
pub struct CopyReport {
    /// What the engine did, or would do.
    pub report: Report,
    /// How long it took.
    pub elapsed: Duration,
}

/// Copies.
pub async fn copy(
    session: &Session,
    request: &CopyRequest,
    progress: Arc<dyn Progress>,
) -> Result<CopyReport, Error> {
    let start = Instant::now();
    let engine = session.engine()?;
    let options = &request.options;
    let job = Job {
        source: session.location(&request.source, "source")?,
        destination: session.location(&request.destination, "destination")?,
        options: Options {
            select: options.select.clone(),
            platform: session.platform.clone(),
            strip_removed_platforms: options.strip_removed_platforms,
            preserve_digests: options.preserve_digests,
            format: options.format,
            layers: options.layers,
            tmp: session.tmp.clone(),
            cache: session.blob_cache.clone(),
            dry_run: options.dry_run,
            parallel: options.parallel,
            retries: options.retry.times,
            retry_delay: options.retry.delay,
            mount_from: Vec::new(),
            standing: Standing::Unknown,
            batch: None,
        },
    };
    let report = engine.copy(&job, progress).await?;
    Ok(CopyReport {
        report,
        elapsed: start.elapsed(),
    })
}
