//! Counter-based randomness (4.1): every number is a pure function of the seed and of what it is for, so a
//! picture is the same whatever batch, thread or device makes it.

/// Philox 4×32-10 (Salmon et al., 2011): four random words for a key and a counter.
pub fn philox4x32(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let [high0, low0] = wide_product(0xD251_1F53, counter[0]);
        let [high1, low1] = wide_product(0xCD9E_8D57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
    }
    counter
}

fn wide_product(a: u32, b: u32) -> [u32; 2] {
    let product = u64::from(a) * u64::from(b);
    [(product >> 32) as u32, product as u32]
}

/// What a random number is for: streams of different purposes never share a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Drawing the token of a position.
    TokenDraw = 0,
    /// Choosing the positions that a pass commits; the pass is that one, not the masked one that follows.
    PositionNoise = 1,
    /// Soft decoding (4.2); its positions are `position·V + v`.
    SoftDecoding = 2,
}

/// The random numbers of one image in one pass, for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The request's seed.
    pub seed: u64,
    /// Index of the image within the whole job.
    pub image: u32,
    /// Index of the pass in the plan.
    pub pass: u32,
    /// What the numbers are for.
    pub purpose: Purpose,
}

impl Stream {
    /// A uniform number in [0, 1), a multiple of 2⁻²⁴.
    pub fn uniform(&self, position: u32) -> f64 {
        f64::from(self.word(position) >> 8) * 2f64.powi(-24)
    }

    /// A number of the standard Gumbel distribution, between −3.2 and 22.9.
    pub fn gumbel(&self, position: u32) -> f64 {
        let u = (f64::from(self.word(position)) + 0.5) * 2f64.powi(-32);
        -(-u.ln()).ln()
    }

    fn word(&self, position: u32) -> u32 {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        philox4x32(key, [position, self.pass, self.image, self.purpose as u32])[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_known_answers() {
        // Random123's kat_vectors; the specification gives the first and the last.
        let answers = [
            ([0; 2], [0; 4], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 2], [u32::MAX; 4], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (key, counter, expected) in answers {
            assert_eq!(philox4x32(key, counter), expected, "key {key:x?}, counter {counter:x?}");
        }
    }

    #[test]
    fn every_field_of_a_stream_has_its_own_word() {
        let stream = Stream { seed: 7 << 32 | 3, image: 11, pass: 5, purpose: Purpose::SoftDecoding };
        let word = philox4x32([3, 7], [13, 5, 11, 2])[0];
        assert_eq!(stream.uniform(13), f64::from(word >> 8) * 2f64.powi(-24));
        let u = (f64::from(word) + 0.5) * 2f64.powi(-32);
        assert_eq!(stream.gumbel(13), -(-u.ln()).ln());
    }
}
