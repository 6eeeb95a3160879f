//! Names of images: one image has a name at a time.

use super::ImageRecord;

/// Gives `name` to the image with the ID `id`, and takes it away from all others.
pub(crate) fn give_name(images: &mut [ImageRecord], id: &str, name: &str) {
    for image in images {
        let names = image.names.get_or_insert_default();
        names.retain(|known| known != name);
        if image.id == id {
            names.insert(0, name.to_owned());
            let history = image.names_history.get_or_insert_default();
            history.retain(|known| known != name);
            history.insert(0, name.to_owned());
        }
        if image.names().is_empty() {
            image.names = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, names: &[&str]) -> ImageRecord {
        ImageRecord {
            id: id.into(),
            names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..ImageRecord::default()
        }
    }

    #[test]
    fn a_name_goes_to_the_front_of_one_image_and_away_from_the_others() {
        let mut images = [image("a", &["x:1", "x:2"]), image("b", &["y:1"])];
        give_name(&mut images, "b", "x:1");
        assert_eq!(images[0].names(), ["x:2"]);
        assert_eq!(images[1].names(), ["x:1", "y:1"]);
        give_name(&mut images, "b", "x:2");
        assert_eq!(images[0].names, None, "an image without a name stays");
        assert_eq!(
            images[1].names_history.as_deref(),
            Some(&["x:2".to_owned(), "x:1".to_owned()][..])
        );
    }
}
