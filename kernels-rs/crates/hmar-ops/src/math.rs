//! Elementary functions without branches, so that loops over them become vector code.

/// eˣ within 2 ulp; 0 below −87.3, infinite above 88.7.
///
/// Splits x into n·ln 2 + r and multiplies a polynomial for eʳ (Cephes' coefficients) by 2ⁿ. Products and sums
/// are kept apart on purpose: fused ones would differ between code compiled with and without them.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.7;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5·2²³ rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;

    let clamped = x.clamp(LOWEST, HIGHEST);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let e = p * (r * r) + r + 1.0;
    // 2ⁿ in two factors: n = 128 alone would overflow the exponent.
    let half = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32) >> 1;
    let rest = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32) - half;
    let scaled = e * power_of_two(half) * power_of_two(rest);
    let low = if x < LOWEST { 0.0 } else { scaled };
    if x > HIGHEST { f32::INFINITY } else { low }
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// x·sigmoid(x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// GELU in its tanh form, `x/2·(1 + tanh(√(2/π)(x + 0.044715x³)))`, written with tanh(u) = 1 − 2/(e²ᵘ + 1).
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    const TWICE_ROOT_TWO_OVER_PI: f32 = 1.595_769;
    let u = TWICE_ROOT_TWO_OVER_PI * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp(-u))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0 + 0.000_37;
            let exact = (x as f64).exp();
            let ulp = (exact as f32).next_up() as f64 - exact as f32 as f64;
            worst = worst.max((exp(x) as f64 - exact).abs() / ulp);
        }
        assert!(worst <= 2.0, "{worst} ulp");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn gelu_and_silu_match_their_definitions() {
        for i in -400..=400 {
            let x = i as f64 / 40.0;
            let silu_exact = x / (1.0 + (-x).exp());
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            let gelu_exact = 0.5 * x * (1.0 + u.tanh());
            // float32 keeps 24 bits: four roundings of values up to 10.
            assert!((silu(x as f32) as f64 - silu_exact).abs() < 4e-6);
            assert!((gelu(x as f32) as f64 - gelu_exact).abs() < 4e-6);
        }
    }
}
