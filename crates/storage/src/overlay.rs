//! The folder of an overlay layer: `diff`, `link`, `lower`, `work`, `merged`, and `empty` at the
//! base.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::chance;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::open::Store;
use crate::publish::NewLayer;
use crate::records::make_folder;

impl Store {
    /// Completes the folder of a layer that has its `diff`; returns its short name.
    pub(crate) fn dress_overlay(&self, folder: &Path, layer: &NewLayer) -> Result<String> {
        let link = chance::link();
        write(&folder.join("link"), &link)?;
        make_folder(&folder.join("work"))?;
        make_folder(&folder.join("merged"))?;
        let Some(parent) = &layer.parent else {
            make_folder(&folder.join("empty"))?;
            return Ok(link);
        };
        let Some(home) = self.home_of(parent) else {
            return Err(Error::NotFound(format!(
                "the files of layer `{parent}` are gone"
            )));
        };
        let below = home.layer_folder(parent);
        let mut lower = format!("l/{}", read(&below.join("link"))?.trim());
        let further = below.join("lower");
        if further.exists() {
            lower.push(':');
            lower.push_str(read(&further)?.trim());
        }
        write(&folder.join("lower"), &lower)?;
        if layer.staged.owners.root_is_set {
            return Ok(link);
        }
        // COMPAT(podman): the root of an image has the mode that the layer below says.
        let mode = fs::metadata(home.layer_files(parent));
        let mode = mode
            .map_err(Error::file("read", &below))?
            .permissions()
            .mode();
        let diff = folder.join("diff");
        fs::set_permissions(&diff, Permissions::from_mode(mode & 0o7777))
            .map_err(Error::file("change", &diff))?;
        Ok(link)
    }
}

/// Makes the short name lead to a layer.
pub(crate) fn link_layer(home: &Home, id: &str, link: &str) -> Result<()> {
    let links = home.driver_folder().join("l");
    if !links.is_dir() {
        fs::create_dir(&links)
            .and_then(|()| fs::set_permissions(&links, Permissions::from_mode(0o755)))
            .map_err(Error::file("create", &links))?;
    }
    let path = links.join(link);
    symlink(format!("../{id}/diff"), &path).map_err(Error::file("create", &path))
}

/// Removes the short name of a layer.
pub(crate) fn unlink_layer(home: &Home, id: &str) {
    if let Ok(link) = read(&home.layer_folder(id).join("link")) {
        // Its name is one component of letters and digits, or it is not ours.
        let link = link.trim();
        if !link.is_empty() && link.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let removed = fs::remove_file(home.driver_folder().join("l").join(link));
            tracing::debug!(link, ok = removed.is_ok(), "short name removed");
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o644)))
        .map_err(Error::file("write", path))
}
