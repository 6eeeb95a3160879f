//! Powers of numbers, without the system's library for them.

/// The only function of `libm.so` that dhow needs: tokio weighs how long its tasks take by it, and progress
/// bars how fast they are. Where a program has its own, the loader does not look for that
/// library, nor map half a megabyte of it, at every start (docs/decisions/0018-functions-side-by-side.md).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the linker goes by this name")]
// SAFETY: the name and the types are those of C, and what is returned is what C would return.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

#[cfg(test)]
mod tests {
    #[test]
    fn powers_are_those_of_ieee_754() {
        for (base, exponent, power) in [
            (2.0_f64, 10.0, 1024.0),
            (0.1, 0.0, 1.0),
            (9.0, 0.5, 3.0),
            (2.0, -1.0, 0.5),
            (0.0, -1.0, f64::INFINITY),
        ] {
            // Not known at compile time, so that the function is called.
            let power_of = std::hint::black_box(base).powf(exponent);
            assert_eq!(power_of.to_bits(), power.to_bits(), "{base} ^ {exponent}");
        }
    }
}
