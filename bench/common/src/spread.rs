//! What the rounds of a benchmark say together.

/// The middle, the lowest and the highest of some rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) };
        Self { median, lowest: at(0), highest: at(sorted.len().wrapping_sub(1)) }
    }

    /// Of what is divided round by round.
    pub fn of_ratios(above: impl IntoIterator<Item = f64>, below: impl IntoIterator<Item = f64>) -> Self {
        Self::of(above.into_iter().zip(below).map(|(above, below)| above / below))
    }

    pub fn whole(&self) -> String {
        self.digits(0)
    }

    pub fn fine(&self) -> String {
        self.digits(2)
    }

    /// `MEDIAN (LOWEST–HIGHEST)`.
    pub fn digits(&self, digits: usize) -> String {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.lowest, self.highest)
    }
}

/// The value below which this share of the values lies, for example 0.99.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (share * last as f64).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or(f64::NAN)
}
