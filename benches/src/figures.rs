//! Numbers as a reader wants them.

use crate::contest::{Spread, Unit};

/// Nanoseconds per operation as the contest's unit.
pub(crate) fn figure(unit: Unit, ns: f64) -> String {
    match unit {
        Unit::Time => time(ns),
        Unit::Rate => rate(ns),
    }
}

/// The extremes, the smaller figure first.
pub(crate) fn range(unit: Unit, ns: &Spread) -> String {
    match unit {
        Unit::Time => format!("{}..{}", time(ns.min), time(ns.max)),
        Unit::Rate => format!("{}..{}", rate(ns.max), rate(ns.min)),
    }
}

/// A time with its unit.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{} ns", three_digits(ns)),
        1e3..1e6 => format!("{} us", three_digits(ns / 1e3)),
        1e6..1e9 => format!("{} ms", three_digits(ns / 1e6)),
        _ => format!("{} s", three_digits(ns / 1e9)),
    }
}

fn rate(ns: f64) -> String {
    match 1e9 / ns {
        per_second @ ..1e3 => format!("{} /s", three_digits(per_second)),
        per_second @ 1e3..1e6 => format!("{} k/s", three_digits(per_second / 1e3)),
        per_second => format!("{} M/s", three_digits(per_second / 1e6)),
    }
}

/// A ratio with its spread.
pub(crate) fn ratio(spread: &Spread) -> String {
    format!(
        "{} ({}..{})",
        times(spread.median),
        three_digits(spread.min),
        three_digits(spread.max)
    )
}

/// A ratio.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}x", three_digits(ratio))
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        ..0.1 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_size() {
        assert_eq!(time(12.34), "12.3 ns");
        assert_eq!(time(43_210.0), "43.2 us");
        assert_eq!(time(2.5e9), "2.50 s");
        assert_eq!(figure(Unit::Rate, 12.5), "80.0 M/s");
        assert_eq!(figure(Unit::Rate, 2e6), "500 /s");
    }

    #[test]
    fn ranges_go_from_less_to_more() {
        let ns = Spread {
            min: 10.0,
            median: 20.0,
            max: 40.0,
        };
        assert_eq!(range(Unit::Time, &ns), "10.0 ns..40.0 ns");
        assert_eq!(range(Unit::Rate, &ns), "25.0 M/s..100 M/s");
    }
}
