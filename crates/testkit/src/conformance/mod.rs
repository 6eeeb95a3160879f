//! What every transport must do, whatever it is made of: a transport exists when it passes.
//!
//! A transport's tests write one line, `dhow_testkit::conformance_tests!(place);`, where `place` is
//! an `async fn() -> Place` that makes a new empty place, or `(optional place)` with one that may
//! have none to offer. Each case becomes a test of its own and looks at the place's caps where
//! transports may differ.

mod blobs;
mod failures;
mod images;
mod place;
mod suite;

pub use blobs::{
    a_blob_is_read_in_part, a_blob_may_be_put_many_times_at_once, a_blob_may_be_put_twice,
    a_blob_that_comes_in_pieces_is_whole, a_blob_whose_digest_is_not_known_beforehand_is_placed,
    a_placed_blob_is_reused, an_abandoned_read_does_no_harm,
};
pub use failures::{
    a_blob_of_another_size_is_refused, a_blob_with_another_digest_is_refused,
    a_broken_body_leaves_nothing, a_dropped_transfer_leaves_nothing, a_missing_blob_is_not_found,
    a_missing_manifest_is_not_found, a_missing_name_is_not_found,
};
pub use images::{
    a_docker_image_keeps_its_bytes_where_it_is_taken, a_location_shows_its_transport,
    a_name_is_replaced_and_the_others_stay, an_artifact_comes_back,
    an_image_comes_back_byte_for_byte, an_image_with_a_foreign_layer_is_stored_without_it,
    an_index_comes_back_with_its_members, names_are_written_at_once,
    nothing_changes_before_the_commit, opening_a_sink_changes_nothing,
    storing_the_same_image_again_changes_nothing,
};
pub use place::{Place, content, pieces, store, stored, want};
