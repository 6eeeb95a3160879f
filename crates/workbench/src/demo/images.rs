//! The sample images: the four of the walkthrough, for three platforms each, with shared layers.

use std::path::Path;

use dhow_testkit::image::{ImageSpec, IndexSpec, write_layout};

/// Writes them into a layout.
pub(crate) fn write(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path)
        .map_err(|error| format!("cannot make the sample images: {error}"))?;
    let platforms = ["linux/amd64", "linux/arm64/v8", "linux/ppc64le"];
    let index = |seed| {
        let image = ImageSpec::oci(seed).layers(4).layer_size(1_500_000);
        IndexSpec::new(image, &platforms).build()
    };
    let images = [
        ("centos:7", index(7)),
        ("centos:7.5.1804", index(75)),
        ("centos:7.4.1708", index(74)),
        ("rhel7:7.5", index(175)),
    ];
    let images: Vec<(&str, &_)> = images.iter().map(|(name, image)| (*name, image)).collect();
    write_layout(path, &images);
    Ok(())
}
