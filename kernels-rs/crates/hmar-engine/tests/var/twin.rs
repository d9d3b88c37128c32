//! The specification (2.3, 2.4, 3) once more, naive and in float64: every token of a pyramid at once, no cache.

use hmar_checkpoint::{Layout, ModelConfig, Synthetic, TensorSource, TokenizerConfig};

type Rows = Vec<Vec<f64>>;

/// A single stack of blocks with made weights.
pub struct Twin {
    config: ModelConfig,
    weights: Synthetic,
    codes: Synthetic,
    phi_count: usize,
}

impl Twin {
    pub fn new(config: &ModelConfig, tokenizer: &TokenizerConfig) -> Self {
        Twin {
            config: config.clone(),
            weights: Synthetic::model(config),
            codes: Synthetic::tokenizer(tokenizer),
            phi_count: tokenizer.phi_count,
        }
    }

    /// Teacher-forced logits `[N, V]`.
    pub fn logits(&self, tokens: &[u32], label: usize) -> Rows {
        let class = self.rows("class_emb.weight").swap_remove(label);
        let class_activated: Vec<f64> = class.iter().map(|x| x / (1.0 + (-x).exp())).collect();
        let mut rows = self.inputs(tokens, &class);
        for index in 0..self.config.depth {
            self.block(&format!("blocks.{index}"), &class_activated, &mut rows);
        }
        let ada = self.linear("head_nm.ada_lin.1", &class_activated);
        let (scale, shift) = ada.split_at(self.config.width);
        rows.iter().map(|row| self.linear("head", &modulate(row, scale, shift))).collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.weights.read(name).unwrap().into_iter().map(f64::from).collect()
    }

    fn rows(&self, name: &str) -> Rows {
        let width = *self.weights.find(name).unwrap().shape.last().unwrap();
        self.vector(name).chunks_exact(width).map(<[f64]>::to_vec).collect()
    }

    fn linear(&self, name: &str, input: &[f64]) -> Vec<f64> {
        let bias = self.vector(&format!("{name}.bias"));
        let rows = self.rows(&format!("{name}.weight"));
        rows.iter().zip(bias).map(|(row, bias)| dot(row, input) + bias).collect()
    }

    /// The inputs of all scales (3.1).
    fn inputs(&self, tokens: &[u32], class: &[f64]) -> Rows {
        let ModelConfig { pyramid, code_dimension, .. } = &self.config;
        let (word, bias) = (self.rows("word_embed.weight"), self.vector("word_embed.bias"));
        let (positions, levels) = (self.rows("pos_1LC"), self.rows("lvl_embed.weight"));
        let side = *pyramid.last().unwrap();
        let mut latent = vec![vec![0.0; side * side]; *code_dimension];
        let mut rows = Vec::new();
        for (scale, &p) in pyramid.iter().enumerate() {
            let first = rows.len();
            let pooled: Vec<_> = latent.iter().map(|plane| area(plane, side, p)).collect();
            for cell in 0..p * p {
                let place = add(&positions[first + cell], &levels[scale]);
                let content = if scale == 0 {
                    add(class, &self.vector("pos_start"))
                } else {
                    let code: Vec<f64> = pooled.iter().map(|plane| plane[cell]).collect();
                    word.iter().zip(&bias).map(|(row, bias)| dot(row, &code) + bias).collect()
                };
                rows.push(add(&content, &place));
            }
            let addition = self.spread(&tokens[first..first + p * p], scale);
            latent.iter_mut().zip(addition).for_each(|(plane, more)| *plane = add(plane, &more));
        }
        rows
    }

    /// h of a scale's tokens (2.4), a plane a channel.
    fn spread(&self, tokens: &[u32], scale: usize) -> Rows {
        let pyramid = &self.config.pyramid;
        let (p, side) = (pyramid[scale], *pyramid.last().unwrap());
        let channels = self.config.code_dimension;
        let codebook = self.codes.read("quantize.embedding.weight").unwrap();
        let enlarged: Rows = (0..channels)
            .map(|channel| {
                let code = |&token: &u32| f64::from(codebook[token as usize * channels + channel]);
                bicubic(&tokens.iter().map(code).collect::<Vec<_>>(), p, side)
            })
            .collect();
        let name = format!("quantize.quant_resi.qresi_ls.{}", self.phi(scale));
        let weight = self.codes.read(&format!("{name}.weight")).unwrap();
        let bias = self.codes.read(&format!("{name}.bias")).unwrap();
        (0..channels)
            .map(|out| {
                let value = |cell: usize| {
                    let (y, x) = ((cell / side) as isize, (cell % side) as isize);
                    let mut sum = f64::from(bias[out]);
                    for (input, plane) in enlarged.iter().enumerate() {
                        for tap in 0..9 {
                            let (row, column) = (y + tap as isize / 3 - 1, x + tap as isize % 3 - 1);
                            let inside = |at: isize| (0..side as isize).contains(&at);
                            if inside(row) && inside(column) {
                                sum += f64::from(weight[(out * channels + input) * 9 + tap])
                                    * plane[row as usize * side + column as usize];
                            }
                        }
                    }
                    0.5 * enlarged[out][cell] + 0.5 * sum
                };
                (0..side * side).map(value).collect()
            })
            .collect()
    }

    /// The φ whose tick is nearest; the pyramids of these tests are far from any tie.
    fn phi(&self, scale: usize) -> usize {
        let count = self.phi_count;
        let margin = 1.0 / if count == 4 { 3.0 } else { 2.0 } / count as f64;
        let place = scale as f64 / (self.config.pyramid.len() - 1) as f64;
        let tick = |j: usize| margin + j as f64 * (1.0 - 2.0 * margin) / (count - 1) as f64;
        let distance = |j: &usize| (tick(*j) - place).abs();
        (0..count).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
    }

    fn block(&self, name: &str, class: &[f64], rows: &mut Rows) {
        let width = self.config.width;
        let ada = if self.config.shared_ada_ln {
            add(&self.linear("shared_ada_lin.1", class), &self.vector(&format!("{name}.ada_gss")))
        } else {
            self.linear(&format!("{name}.ada_lin.1"), class)
        };
        let part = |index: usize| &ada[index * width..][..width];
        let attended = self.attention(name, &modulated(rows, part(2), part(4)));
        add_gated(rows, &attended, part(0));
        let hidden = modulated(rows, part(3), part(5));
        let fed: Rows = hidden
            .iter()
            .map(|row| {
                let hidden = self.linear(&format!("{name}.ffn.fc1"), row).into_iter().map(gelu);
                self.linear(&format!("{name}.ffn.fc2"), &hidden.collect::<Vec<_>>())
            })
            .collect();
        add_gated(rows, &fed, part(1));
    }

    fn attention(&self, name: &str, rows: &Rows) -> Rows {
        let ModelConfig { width, heads, query_key_norm, .. } = self.config;
        let of = |part: &str| format!("{name}.attn.{part}");
        let mut bias = self.vector(&of("q_bias"));
        bias.resize(2 * width, 0.0);
        bias.extend(self.vector(&of("v_bias")));
        let weight = self.rows(&of("mat_qkv.weight"));
        let qkv: Rows = rows
            .iter()
            .map(|row| weight.iter().zip(&bias).map(|(weights, bias)| dot(weights, row) + bias).collect())
            .collect();
        let factors = if query_key_norm { self.vector(&of("scale_mul_1H11")) } else { vec![0.0; heads] };
        let attended: Rows = (0..rows.len())
            .map(|query| {
                let head = |(head, factor): (usize, &f64)| {
                    let part =
                        |row: usize, which: usize| qkv[row][which * width + head * 64..][..64].to_vec();
                    let divided = |vector: Vec<f64>| {
                        let norm = dot(&vector, &vector).sqrt().max(1e-12);
                        vector.into_iter().map(|x| x / norm).collect::<Vec<_>>()
                    };
                    let keys = self.seen(query);
                    let scores: Vec<f64> = keys
                        .clone()
                        .map(|key| match query_key_norm {
                            true => {
                                let factor = factor.min(100f64.ln()).exp();
                                factor * dot(&divided(part(query, 0)), &divided(part(key, 1)))
                            }
                            false => 0.25 / 8.0 * dot(&part(query, 0), &part(key, 1)),
                        })
                        .collect();
                    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                    let total: f64 = scores.iter().map(|score| (score - largest).exp()).sum();
                    let mut out = vec![0.0; 64];
                    for (key, score) in keys.zip(&scores) {
                        let weight = (score - largest).exp() / total;
                        out.iter_mut().zip(part(key, 2)).for_each(|(out, value)| *out += weight * value);
                    }
                    out
                };
                factors.iter().enumerate().flat_map(head).collect()
            })
            .collect();
        attended.iter().map(|row| self.linear(&of("proj"), row)).collect()
    }

    /// Which keys a query attends to.
    fn seen(&self, query: usize) -> std::ops::Range<usize> {
        let mut start = 0;
        for side in &self.config.pyramid {
            let end = start + side * side;
            if query < end {
                return if self.config.layout == Layout::Var { 0..end } else { start..end };
            }
            start = end;
        }
        unreachable!("every query is of a scale")
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x + y).collect()
}

fn add_gated(rows: &mut Rows, more: &Rows, gate: &[f64]) {
    for (row, more) in rows.iter_mut().zip(more) {
        row.iter_mut().zip(more).zip(gate).for_each(|((x, more), gate)| *x += gate * more);
    }
}

fn modulate(row: &[f64], scale: &[f64], shift: &[f64]) -> Vec<f64> {
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let inverse = 1.0 / (variance + 1e-6).sqrt();
    row.iter().zip(scale).zip(shift).map(|((x, s), b)| (x - mean) * inverse * (1.0 + s) + b).collect()
}

fn modulated(rows: &Rows, scale: &[f64], shift: &[f64]) -> Rows {
    rows.iter().map(|row| modulate(row, scale, shift)).collect()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

fn area(plane: &[f64], side: usize, to: usize) -> Vec<f64> {
    let bin = |i: usize| i * side / to..((i + 1) * side).div_ceil(to);
    let mean = |cell: usize| {
        let (rows, columns) = (bin(cell / to), bin(cell % to));
        let count = (rows.len() * columns.len()) as f64;
        let cells = rows.flat_map(|row| columns.clone().map(move |column| row * side + column));
        cells.map(|at| plane[at]).sum::<f64>() / count
    };
    (0..to * to).map(mean).collect()
}

fn bicubic(plane: &[f64], from: usize, to: usize) -> Vec<f64> {
    if from == to {
        return plane.to_vec();
    }
    let cubic = |x: f64| {
        let (x, a) = (x.abs(), -0.75);
        match x {
            _ if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x.powi(2) + 1.0,
            _ if x < 2.0 => a * (x.powi(3) - 5.0 * x.powi(2) + 8.0 * x - 4.0),
            _ => 0.0,
        }
    };
    let taps = |i: usize| {
        let source = (i as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let first = source.floor() as isize - 1;
        (first..first + 4).map(move |at| (at.clamp(0, from as isize - 1) as usize, cubic(source - at as f64)))
    };
    let value = |cell: usize| {
        let rows = taps(cell / to);
        rows.map(|(row, y)| {
            y * taps(cell % to).map(|(column, x)| x * plane[row * from + column]).sum::<f64>()
        })
        .sum()
    };
    (0..to * to).map(value).collect()
}
