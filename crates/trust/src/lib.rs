//! Policy evaluation: may this image be used.
