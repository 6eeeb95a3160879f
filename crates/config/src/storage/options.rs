//! The options of a storage driver that mean something to whoever writes images.

use std::path::PathBuf;

/// What a list of `KEY=VALUE` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Understood {
    pub(super) additional_image_stores: Vec<PathBuf>,
    pub(super) ignore_chown_errors: bool,
    pub(super) force_mask: Option<u32>,
    pub(super) mount_program: Option<PathBuf>,
}

/// Reads options. Later ones replace earlier ones, stores are added up, and what means nothing here is
/// left to the driver.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub(super) fn understand(options: &[String], driver: Option<&str>) -> Result<Understood, String> {
    let mut understood = Understood::default();
    for option in options {
        let Some((key, value)) = option.split_once('=') else {
            return Err(format!("has an option `{option}` without a value"));
        };
        let lower = key.to_lowercase();
        let (prefix, name) = lower.rsplit_once('.').unwrap_or(("", &lower));
        if let Some(driver) = driver
            && !prefix.is_empty()
            && prefix != driver
        {
            // COMPAT(skopeo): its words.
            return Err(format!(
                "has an option that does not fit: {driver} driver does not support {key} options"
            ));
        }
        understood.take(name, value)?;
    }
    Ok(understood)
}

impl Understood {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "imagestore" | "additionalimagestore" => {
                for store in value.split(',').filter(|store| !store.is_empty()) {
                    let store = absolute(name, store)?;
                    self.additional_image_stores.push(store);
                }
            }
            "ignore_chown_errors" => {
                self.ignore_chown_errors = truth(value)
                    .ok_or_else(|| format!("has `{value}` for `{name}`, not true or false"))?;
            }
            "force_mask" => {
                self.force_mask = Some(mask(value).ok_or_else(|| {
                    format!(
                        "has `{value}` for `{name}`, not `shared`, `private` or an octal number"
                    )
                })?);
            }
            "mount_program" if !value.is_empty() => {
                self.mount_program = Some(absolute(name, value)?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn absolute(name: &str, value: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(format!(
        "has `{value}` for `{name}`, which is no absolute path"
    ))
}

/// COMPAT(skopeo): what Go takes for a truth value.
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn mask(value: &str) -> Option<u32> {
    match value {
        "shared" => Some(0o755),
        "private" => Some(0o700),
        octal => u32::from_str_radix(octal, 8)
            .ok()
            .filter(|mask| *mask <= 0o7777),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str], driver: Option<&str>) -> Result<Understood, String> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        understand(&options, driver)
    }

    #[test]
    fn options_count_with_and_without_the_driver_before_them() {
        let all = [
            "overlay.imagestore=/a",
            ".imagestore=/b",
            "additionalimagestore=/c,/d",
            "overlay.ignore_chown_errors=true",
            "force_mask=shared",
            "overlay.mount_program=/bin/fuse",
            "overlay.mountopt=nodev",
        ];
        let expected = Understood {
            additional_image_stores: ["/a", "/b", "/c", "/d"].map(PathBuf::from).into(),
            ignore_chown_errors: true,
            force_mask: Some(0o755),
            mount_program: Some(PathBuf::from("/bin/fuse")),
        };
        assert_eq!(of(&all, Some("overlay")), Ok(expected.clone()));
        assert_eq!(of(&all, None), Ok(expected));
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        for (option, named) in [
            ("mountopt", "`mountopt`"),
            (
                "vfs.mountopt=x",
                "overlay driver does not support vfs.mountopt",
            ),
            ("imagestore=a", "`a`"),
            ("ignore_chown_errors=yes", "`yes`"),
            ("force_mask=9", "`9`"),
            ("force_mask=77777", "`77777`"),
            ("mount_program=fuse", "`fuse`"),
        ] {
            let why = of(&[option], Some("overlay")).unwrap_err();
            assert!(why.contains(named), "{option}: {why}");
        }
    }

    #[test]
    fn masks_are_names_or_octal_numbers() {
        for (value, mask) in [("private", 0o700), ("0750", 0o750), ("700", 0o700)] {
            let option = format!("overlay.force_mask={value}");
            assert_eq!(of(&[&option], None).unwrap().force_mask, Some(mask));
        }
    }
}
