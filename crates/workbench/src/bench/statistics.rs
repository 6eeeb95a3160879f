//! The few numbers that stand for many.

/// Least, median and most of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The smallest value.
    pub(super) least: f64,
    /// The value in the middle, or between the two there.
    pub(super) median: f64,
    /// The largest value.
    pub(super) most: f64,
}

impl Spread {
    /// Returns the spread of the values, if there are any.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = values[(values.len() - 1) / 2];
        Some(Self {
            least: values[0],
            median: f64::midpoint(lower, upper),
            most: values[values.len() - 1],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        for (values, least, median, most) in [
            (&[3.0][..], 3.0, 3.0, 3.0),
            (&[4.0, 1.0], 1.0, 2.5, 4.0),
            (&[9.0, 1.0, 2.0], 1.0, 2.0, 9.0),
            (&[8.0, 1.0, 2.0, 4.0], 1.0, 3.0, 8.0),
        ] {
            assert_eq!(
                spread(values),
                Some(Spread {
                    least,
                    median,
                    most
                })
            );
        }
    }
}
