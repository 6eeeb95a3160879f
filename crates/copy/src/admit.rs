//! Admit: policy is asked about every manifest before an image is parsed.

use dhow_model::manifest::Docker1Manifest;
use dhow_model::{Admitted, Descriptor, ImageManifest, Index, Platform, RawManifest};
use dhow_transport::Location;
use dhow_trust::Admission;

use crate::Error;
use crate::resolve::RawTree;

/// The manifests that take part, let through and parsed; the root is the last.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
}

/// A manifest with what is in it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) raw: RawManifest,
    pub(crate) platform: Option<Platform>,
    /// The index that it was chosen from, when it is taken alone.
    pub(crate) chosen_from: Option<RawManifest>,
    pub(crate) content: Content,
    /// The layers as the source holds them, where that is not as the manifest says; as many.
    pub(crate) held: Option<Vec<Descriptor>>,
}

/// What a manifest is.
#[derive(Debug)]
pub(crate) enum Content {
    /// An image or an artifact.
    Image(Box<ImageManifest>),
    /// A Docker schema 1 image.
    Docker1(Box<Docker1Manifest>),
    /// An index, and for each entry the place of its manifest in the tree, if it takes part.
    Index(Box<Index>, Vec<Option<usize>>),
}

impl Tree {
    pub(crate) fn root(&self) -> usize {
        self.nodes.len() - 1
    }

    pub(crate) fn images(&self) -> usize {
        self.nodes
            .iter()
            .filter(|node| !matches!(node.content, Content::Index(..)))
            .count()
    }
}

/// Asks `admission` about every manifest of the tree.
pub(crate) fn tree(
    raw: RawTree,
    location: &dyn Location,
    admission: &Admission,
) -> Result<Tree, Error> {
    let scopes = location.policy_scopes();
    let mut nodes = Vec::with_capacity(raw.nodes.len());
    for node in raw.nodes {
        let admitted = admission
            .admit(location.transport(), &scopes, node.raw.clone())
            .map_err(Error::Rejected)?;
        let content = match node.index {
            Some((index, members)) => Content::Index(Box::new(index), members),
            None => parse(&admitted).map_err(|source| Error::Manifest {
                name: location.to_string(),
                source,
            })?,
        };
        nodes.push(Node {
            raw: node.raw,
            platform: node.platform,
            chosen_from: node.chosen_from,
            content,
            held: None,
        });
    }
    Ok(Tree { nodes })
}

fn parse(admitted: &Admitted<RawManifest>) -> Result<Content, dhow_model::ManifestError> {
    if admitted.as_inner().kind().is_docker1() {
        return Docker1Manifest::parse(admitted).map(|image| Content::Docker1(Box::new(image)));
    }
    ImageManifest::parse(admitted).map(|image| Content::Image(Box::new(image)))
}
