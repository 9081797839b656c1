//! How a figure grows with the mesh: the plane that lies nearest to what was measured.

/// A measured size and the figure there.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub services: f64,
    pub pods: f64,
    pub figure: f64,
}

/// `fixed + services * Services + pods * Pods`, by least squares.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    pub fixed: f64,
    pub services: f64,
    /// `None` where all sizes had as many pods for each Service: then they are in what a Service adds.
    pub pods: Option<f64>,
}

impl Growth {
    /// Nothing where there are too few sizes to tell.
    pub fn of(sights: &[Sight]) -> Option<Self> {
        let rows = sights.iter().map(|it| ([1.0, it.services, it.pods], it.figure));
        if let Some([fixed, services, pods]) = least_squares(rows) {
            return Some(Self { fixed, services, pods: Some(pods) });
        }
        let rows = sights.iter().map(|it| ([1.0, it.services], it.figure));
        let [fixed, services] = least_squares(rows)?;
        Some(Self { fixed, services, pods: None })
    }

    pub fn at(&self, services: f64, pods: f64) -> f64 {
        self.fixed + self.services * services + self.pods.unwrap_or_default() * pods
    }

    /// How far the worst of the measured sizes is from it, as a share of what was measured.
    pub fn off_by(&self, sights: &[Sight]) -> f64 {
        let off = sights.iter().map(|it| (self.at(it.services, it.pods) / it.figure - 1.0).abs());
        off.fold(0.0, f64::max)
    }
}

fn least_squares<const N: usize>(rows: impl Iterator<Item = ([f64; N], f64)>) -> Option<[f64; N]> {
    let mut system = [[0.0; N]; N];
    let mut right = [0.0; N];
    for (row, figure) in rows {
        for (line, (sums, sum)) in system.iter_mut().zip(&mut right).enumerate() {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += row[line] * value;
            }
            *sum += row[line] * figure;
        }
    }
    solve(system, right)
}

/// Gauss; nothing where the rows depend on each other, but for what rounding leaves. Sums of squares need no pivots.
fn solve<const N: usize>(mut system: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    let sums = system;
    for at in 0..N {
        let (own, own_right) = (system[at], right[at]);
        if own[at] <= 1e-9 * sums[at][at] {
            return None;
        }
        for other in (0..N).filter(|other| *other != at) {
            let share = system[other][at] / own[at];
            for (value, own) in system[other].iter_mut().zip(own) {
                *value -= share * own;
            }
            right[other] -= share * own_right;
        }
    }
    Some(std::array::from_fn(|at| right[at] / system[at][at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(services: f64, pods: f64) -> Sight {
        Sight { services, pods, figure: 20.0 + 3.0 * services + 0.5 * pods }
    }

    #[test]
    fn what_grows_evenly_is_found_again() {
        let sights = [sight(1.0, 5.0), sight(5.0, 25.0), sight(10.0, 50.0), sight(5.0, 100.0)];
        let growth = Growth::of(&sights).unwrap();
        for (found, expected) in [
            (growth.fixed, 20.0),
            (growth.services, 3.0),
            (growth.pods.unwrap(), 0.5),
            (growth.at(100.0, 1000.0), 820.0),
        ] {
            assert!((found - expected).abs() < 1e-6, "{growth:?}");
        }
        assert!(growth.off_by(&sights) < 1e-9);
        let mut bent = sights;
        bent[0].figure *= 2.0;
        assert!(Growth::of(&bent).unwrap().off_by(&bent) > 0.05);
    }

    #[test]
    fn where_pods_grow_with_services_they_are_not_told_apart_and_one_size_tells_nothing() {
        let sights = [sight(1.0, 5.0), sight(5.0, 25.0), sight(10.0, 50.0)];
        let growth = Growth::of(&sights).unwrap();
        assert!(growth.pods.is_none() && (growth.services - 5.5).abs() < 1e-6, "{growth:?}");
        assert!(Growth::of(&sights[..1]).is_none());
    }
}
