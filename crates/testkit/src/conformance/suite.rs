//! The list of the cases, and the macro that makes tests of them.

/// Makes one test of each case of the suite.
#[macro_export]
macro_rules! conformance_tests {
    ($place:path) => {
        $crate::conformance_tests! { @cases async || Some($place().await) }
    };
    (optional $place:path) => {
        $crate::conformance_tests! { @cases $place }
    };
    (@cases $place:expr) => {
        $crate::conformance_tests! { @each $place;
            an_image_comes_back_byte_for_byte
            an_index_comes_back_with_its_members
            an_artifact_comes_back
            an_image_with_a_foreign_layer_is_stored_without_it
            a_docker_image_keeps_its_bytes_where_it_is_taken
            a_name_is_replaced_and_the_others_stay
            names_are_written_at_once
            nothing_changes_before_the_commit
            opening_a_sink_changes_nothing
            storing_the_same_image_again_changes_nothing
            a_location_shows_its_transport
            a_blob_is_read_in_part
            a_placed_blob_is_reused
            a_blob_that_comes_in_pieces_is_whole
            a_blob_whose_digest_is_not_known_beforehand_is_placed
            a_blob_may_be_put_twice
            a_blob_may_be_put_many_times_at_once
            an_abandoned_read_does_no_harm
            a_missing_name_is_not_found
            a_missing_manifest_is_not_found
            a_missing_blob_is_not_found
            a_blob_with_another_digest_is_refused
            a_blob_of_another_size_is_refused
            a_broken_body_leaves_nothing
            a_dropped_transfer_leaves_nothing
        }
    };
    (@each $place:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let place = $place;
                if let Some(place) = place().await {
                    $crate::conformance::$case(&place).await;
                }
            }
        )*
    };
}
