//! Flags that stand before or after every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dhow_config::ConfigOverrides;
use dhow_model::PlatformWish;
use dhow_ops::{PolicyOption, host_platform};

use super::{parse_bool, parse_duration};

/// Flags that stand before or after every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// Show what is decided and sent, on stderr
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true, hide_possible_values = true)]
    pub(crate) debug: bool,
    /// Choose images for this operating system, not for the one running
    #[arg(long, global = true, value_name = "OS")]
    override_os: Option<String>,
    /// Choose images for this architecture, not for that of this machine
    #[arg(long, global = true, value_name = "ARCH")]
    override_arch: Option<String>,
    /// Choose images for this variant of the architecture
    #[arg(long, global = true, value_name = "VARIANT")]
    override_variant: Option<String>,
    /// Trust policy file [default: ~/.config/containers/policy.json, then /etc/containers/policy.json]
    #[arg(long, global = true, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Accept every image, whatever the policy file says
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    insecure_policy: bool,
    /// Main file of the registries' settings [default: ~/.config/containers/registries.conf, then /etc/containers/registries.conf]
    #[arg(long, global = true, value_name = "PATH")]
    registries_conf: Option<PathBuf>,
    /// Directory of signature storage settings [default: ~/.config/containers/registries.d, then /etc/containers/registries.d]
    #[arg(long = "registries.d", global = true, value_name = "DIR")]
    registries_d: Option<PathBuf>,
    /// Give up after this time, such as 30s or 5m [default: never]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) command_timeout: Option<Duration>,
    /// Take a connection for broken after this time without a byte, such as 20s [default: 1m]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) stall_timeout: Option<Duration>,
    /// Directory for large temporary files
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/tmp")]
    pub(crate) tmpdir: PathBuf,
    /// Text before the name in the User-Agent header
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) user_agent_prefix: Option<String>,
    /// Say nothing but errors on stderr
    #[arg(long, short, global = true, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    pub(crate) quiet: bool,
    /// How progress is shown on stderr
    #[arg(long, global = true, value_name = "MODE", default_value = "auto")]
    pub(crate) progress: ProgressMode,
    /// Form of the final result: text on stderr, or one JSON object on stdout
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    pub(crate) output: OutputFormat,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Bars
    Bar,
    /// A line every few seconds
    Plain,
    /// A JSON object per line
    Json,
    /// Not at all
    None,
}

/// In which form results are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// One name per line, where names are listed; elsewhere as `text`
    Table,
}

impl GlobalOptions {
    pub(crate) fn policy(&self) -> PolicyOption {
        match (&self.policy, self.insecure_policy) {
            (_, true) => PolicyOption::AcceptAnything,
            (Some(path), false) => PolicyOption::File(path.clone()),
            (None, false) => PolicyOption::Default,
        }
    }

    pub(crate) fn config_overrides(&self) -> ConfigOverrides {
        ConfigOverrides {
            registries_conf: self.registries_conf.clone(),
            registries_d: self.registries_d.clone(),
        }
    }

    pub(crate) fn platform(&self) -> PlatformWish {
        let mut wish = host_platform();
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(os) = set(&self.override_os) {
            wish.os = os;
        }
        if let Some(architecture) = set(&self.override_arch) {
            wish.architecture = architecture;
            // COMPAT(skopeo): the variant of this machine says nothing about another one.
            wish.variant = None;
        }
        if let Some(variant) = set(&self.override_variant) {
            wish.variant = Some(variant);
        }
        wish
    }
}
