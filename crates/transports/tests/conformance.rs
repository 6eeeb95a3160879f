//! Every transport runs the one suite of `dhow_testkit::conformance`.

use std::path::Path;
use std::sync::Arc;

use dhow_testkit::conformance::Place;
use dhow_transport::{Location, Transport};
use dhow_transports::{dir, docker_archive, oci, oci_archive};

fn located(transport: &dyn Transport, rest: &str) -> Arc<dyn Location> {
    transport.parse(rest).expect("the test names a place")
}

fn show(path: &Path) -> String {
    path.to_str().expect("temporary paths are UTF-8").to_owned()
}

mod in_a_layout {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let path = show(&directory.path().join("layout"));
        let transport = oci::Oci::new(None);
        Place::named(
            move |name| located(&transport, &format!("{path}:{name}")),
            directory,
        )
    }

    dhow_testkit::conformance_tests!(place);
}

mod in_an_oci_archive {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let path = show(&directory.path().join("images.tar"));
        let transport = oci_archive::OciArchive::new(directory.path().to_owned());
        Place::named(
            move |name| located(&transport, &format!("{path}:{name}")),
            directory,
        )
    }

    dhow_testkit::conformance_tests!(place);
}

mod in_a_layout_with_shared_blobs {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let path = show(&directory.path().join("a/layout"));
        let transport = oci::Oci::new(Some(directory.path().join("shared")));
        Place::named(
            move |name| located(&transport, &format!("{path}:{name}")),
            directory,
        )
    }

    dhow_testkit::conformance_tests!(place);
}

mod in_a_directory {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let path = show(&directory.path().join("image"));
        Place::single(located(&dir::Dir::new(), &path), directory)
    }

    dhow_testkit::conformance_tests!(place);
}

mod in_a_docker_archive {
    use super::*;

    async fn place() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let path = show(&directory.path().join("images.tar"));
        let tmp = directory.path().to_owned();
        let transport = docker_archive::DockerArchive::new(tmp, Vec::new());
        Place::named(
            move |name| located(&transport, &format!("{path}:test/{name}:latest")),
            directory,
        )
    }

    dhow_testkit::conformance_tests!(place);
}
