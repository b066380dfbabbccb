//! The cheapest way to a kill point: a breakpoint first, then single steps.
//!
//! # Source
//!
//! Stepping to each of n points costs n²/2 steps. A breakpoint at an instruction costs a constant
//! for its first execution, and a lift, a step and a new breakpoint for each further one. So each
//! point is reached from the breakpoint nearest before it, where "near" counts both.
//!
//! # Invariants
//!
//! - I1: following a route executes exactly the instructions before its point: a breakpoint
//!   replaces an instruction that has not been executed, and a step executes one.
//! - I2: inside a repeated string instruction each iteration is a point of its own at the same
//!   address; it counts as one more execution, as single-stepping counts it.
//! - I3: no breakpoint is planted where the harness found that it cannot be.

use std::collections::{HashMap, HashSet};

/// In steps: planting, running into the breakpoint for the first time.
const FIRST_HIT: usize = 2;
/// In steps: lifting, one step, planting again, running into it again.
const NEXT_HIT: usize = 3;

/// How to bring a victim from the start to one kill point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// Run into a breakpoint at this address so many times.
    pub(crate) breakpoint: Option<(u64, usize)>,
    /// Then execute so many single instructions.
    pub(crate) steps: usize,
}

/// Returns the single-step route to each of `len` points.
pub(crate) fn stepped(len: usize) -> Vec<Route> {
    (0..len)
        .map(|steps| Route {
            breakpoint: None,
            steps,
        })
        .collect()
}

/// Returns the cheapest route to each point of a straight run through `addresses`.
pub(crate) fn planted(addresses: &[u64], plantable: &HashSet<u64>) -> Vec<Route> {
    let mut executions: HashMap<u64, usize> = HashMap::new();
    let mut best: Option<(Route, usize)> = None;
    let mut routes = Vec::with_capacity(addresses.len());
    for address in addresses {
        let count = executions.entry(*address).or_default();
        *count += 1;
        let (mut route, mut cost) = match best {
            None => (
                Route {
                    breakpoint: None,
                    steps: 0,
                },
                0,
            ),
            Some((route, cost)) => (
                Route {
                    steps: route.steps + 1,
                    ..route
                },
                cost + 1,
            ),
        };
        let planting = FIRST_HIT + NEXT_HIT * (*count - 1);
        if planting < cost && plantable.contains(address) {
            route = Route {
                breakpoint: Some((*address, *count)),
                steps: 0,
            };
            cost = planting;
        }
        best = Some((route, cost));
        routes.push(route);
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(breakpoint: Option<(u64, usize)>, steps: usize) -> Route {
        Route { breakpoint, steps }
    }

    #[test]
    fn straight_code_is_planted_everywhere() {
        let addresses = [10, 11, 12, 13, 14];
        let routes = planted(&addresses, &addresses.into());
        assert_eq!(routes[0], route(None, 0));
        assert_eq!(routes[3], route(Some((13, 1)), 0));
        assert_eq!(routes[4], route(Some((14, 1)), 0));
    }

    #[test]
    fn what_cannot_be_planted_is_stepped_to() {
        let routes = planted(&[10, 11, 12, 13, 90, 91], &[10, 11, 12, 13].into());
        assert_eq!(routes[5], route(Some((13, 1)), 2));
    }

    #[test]
    fn iterations_at_one_address_are_stepped_from_its_first_execution() {
        let routes = planted(&[1, 2, 3, 4, 7, 7, 7], &[1, 2, 3, 4, 7].into());
        assert_eq!(routes[4], route(Some((7, 1)), 0));
        assert_eq!(routes[6], route(Some((7, 1)), 2));
    }

    #[test]
    fn a_long_loop_is_planted_again_at_later_executions() {
        let body: Vec<u64> = (100..120).collect();
        let routes = planted(
            &[body.clone(), body.clone()].concat(),
            &body.into_iter().collect(),
        );
        assert_eq!(routes[20], route(Some((119, 1)), 1));
        assert_eq!(routes[39], route(Some((119, 2)), 0));
    }
}
