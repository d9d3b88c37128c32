//! Generating pass by pass: the same images, and what can be read and changed between passes.

use std::sync::Arc;

use hmar_checkpoint::{Layout, ModelConfig, Synthetic, TokenizerConfig};
use hmar_engine::{Cancel, Generated, Kept, Model, Request, Session, Stepper, saved_description};
use hmar_error::Code;
use hmar_ops::CpuBackend;

use super::golden::*;
use super::shapes::*;

fn request(keep: Option<Kept>) -> Request {
    Request {
        labels: vec![4, 10, 7],
        plan: plan(&LONG),
        seed: 14,
        first_image: 3,
        batch: 3,
        skip_negligible_guidance: true,
        trace: false,
        keep,
    }
}

fn cancel() -> Cancel {
    Cancel::default()
}

fn generate(shapes: &Shapes, request: &Request) -> Generated {
    let Shapes { model, tokenizer } = shapes;
    Session::default().generate(model, tokenizer, request, &cancel(), &|_| {}).unwrap()
}

fn open(shapes: &Shapes, request: Request) -> Stepper<CpuBackend> {
    Stepper::open(Arc::clone(&shapes.model), request).unwrap()
}

fn resume(shapes: &Shapes, request: Request, saved: &[u8]) -> hmar_error::Result<Stepper<CpuBackend>> {
    Stepper::resume(Arc::clone(&shapes.model), request, saved, None, &cancel())
}

fn finish(stepper: &mut Stepper<CpuBackend>) {
    while stepper.next() < stepper.request().plan.passes.len() {
        stepper.step(&cancel()).unwrap();
    }
}

fn boxed(shapes: &Shapes) -> Kept {
    let (source, mask) = (Golden::open("tiny-a"), Golden::open("tiny-generations"));
    let tokens = source.integers("enc_tokens")[..130].to_vec();
    Kept::new(shapes.model.config(), tokens, Some(&mask.floats("edit.keep")), 0).unwrap()
}

#[test]
fn steps_make_what_a_run_makes() {
    let shapes = load();
    for keep in [None, Some(boxed(&shapes))] {
        let whole = generate(&shapes, &request(keep.clone()));
        let mut stepper = open(&shapes, request(keep));
        finish(&mut stepper);
        assert_eq!(stepper.tokens(), whole.tokens);
        assert_eq!(stepper.pictures(&shapes.tokenizer, &cancel()).unwrap(), whole.pixels);
        let error = stepper.step(&cancel()).unwrap_err();
        assert_eq!(error.code, Code::ArgumentOutOfRange);
    }
}

#[test]
fn logits_are_those_that_a_pass_draws_from() {
    let shapes = load();
    let mut greedy = request(None);
    greedy.plan.passes.iter_mut().for_each(|pass| pass.sampling.top_k = 1);
    let whole = generate(&shapes, &greedy);
    let mut stepper = open(&shapes, greedy);
    for _ in 0..stepper.request().plan.passes.len() {
        let logits = stepper.logits(&cancel()).unwrap();
        assert_eq!(stepper.logits(&cancel()).unwrap(), logits);
        stepper.step(&cancel()).unwrap();
        let view = stepper.view();
        for (position, row) in logits.chunks_exact(1024).enumerate() {
            assert!(view.open[position] == 0 || view.tokens[position] == argmax(row));
        }
    }
    assert_eq!(stepper.tokens(), whole.tokens);
}

#[test]
fn a_scale_that_is_kept_has_no_logits() {
    let shapes = load();
    let mut stepper = open(&shapes, request(Some(boxed(&shapes))));
    assert!(stepper.logits(&cancel()).unwrap().iter().all(|x| x.is_nan()));
    stepper.step(&cancel()).unwrap();
    assert_eq!(stepper.view().open, [0, 0, 0]);
    assert!(stepper.view().confidence.iter().all(|x| x.is_infinite()));
}

#[test]
fn a_session_goes_on_from_wherever_it_was_saved() {
    let shapes = load();
    for keep in [None, Some(boxed(&shapes))] {
        let whole = generate(&shapes, &request(keep.clone()));
        let mut stepper = open(&shapes, request(keep));
        for next in 0..=stepper.request().plan.passes.len() {
            let saved = stepper.save("of a test").unwrap();
            assert_eq!(saved_description(&saved).unwrap(), "of a test");
            let mut other = resume(&shapes, request(None), &saved).unwrap();
            assert_eq!((other.next(), other.view()), (next, stepper.view()));
            assert_eq!(other.save("of a test").unwrap(), saved);
            finish(&mut other);
            assert_eq!(other.tokens(), whole.tokens);
            assert_eq!(other.pictures(&shapes.tokenizer, &cancel()).unwrap(), whole.pixels);
            if next < stepper.request().plan.passes.len() {
                stepper.step(&cancel()).unwrap();
            }
        }
    }
}

#[test]
fn a_coarse_picture_goes_on_in_several_ways() {
    let shapes = load();
    let mut stepper = open(&shapes, request(None));
    (0..6).for_each(|_| stepper.step(&cancel()).unwrap());
    let saved = stepper.save("").unwrap();
    finish(&mut stepper);
    let mut forked = resume(&shapes, Request { seed: 15, ..request(None) }, &saved).unwrap();
    finish(&mut forked);
    for (a, b) in stepper.tokens().chunks_exact(130).zip(forked.tokens().chunks_exact(130)) {
        assert_eq!(a[..14], b[..14]);
        assert_ne!(a[14..], b[14..]);
    }
}

#[test]
fn replaced_tokens_are_decoded() {
    let shapes = load();
    let source = Golden::open("tiny-a").integers("enc_tokens")[..130].to_vec();
    let mut stepper = open(&shapes, request(None));
    let mut start = 0;
    for counts in LONG {
        for step in 0..counts.len() {
            // A prediction that was made before is made again.
            stepper.logits(&cancel()).unwrap();
            stepper.step(&cancel()).unwrap();
            if step + 1 == counts.len() {
                let end = start + counts.iter().sum::<usize>();
                if stepper.next() < stepper.request().plan.passes.len() {
                    stepper.logits(&cancel()).unwrap();
                }
                stepper.replace_tokens(&source[start..end].repeat(3), None).unwrap();
                start = end;
            }
        }
    }
    assert_eq!(stepper.tokens(), source.repeat(3));
    let expected = shapes.tokenizer.decode(&source, &PYRAMID, false, &cancel()).unwrap();
    assert_eq!(stepper.pictures(&shapes.tokenizer, &cancel()).unwrap(), expected.repeat(3));
}

#[test]
fn replaced_tokens_and_confidences_steer_what_follows() {
    let shapes = load();
    let mut stepper = open(&shapes, request(None));
    (0..6).for_each(|_| stepper.step(&cancel()).unwrap());
    // Scale 4 after its next-scale pass: ten of sixteen stay open, the first ones when they are the least confident.
    stepper.step(&cancel()).unwrap();
    let tokens = stepper.view().tokens.to_vec();
    let rising: Vec<f32> = (0..48).map(|i| (i % 16) as f32 / 16.0).collect();
    stepper.replace_tokens(&tokens, Some(&rising)).unwrap();
    stepper.step(&cancel()).unwrap();
    let expected: Vec<u8> = (0..48).map(|i| u8::from(i % 16 < 10)).collect();
    assert_eq!(stepper.view().open, expected);
}

#[test]
fn chosen_positions_are_drawn_and_no_others() {
    let shapes = load();
    let mut stepper = open(&shapes, request(None));
    assert!(stepper.open_positions(&[1, 1, 1]).is_err());
    (0..7).for_each(|_| stepper.step(&cancel()).unwrap());
    stepper.logits(&cancel()).unwrap();
    let before = stepper.view().tokens.to_vec();
    let last_row: Vec<u8> = (0..48).map(|i| u8::from(i % 16 >= 12)).collect();
    stepper.open_positions(&last_row).unwrap();
    let mut resumed = resume(&shapes, request(None), &stepper.save("").unwrap()).unwrap();
    for stepper in [&mut stepper, &mut resumed] {
        stepper.step(&cancel()).unwrap();
        let view = stepper.view();
        assert_eq!(view.open, last_row);
        assert!((0..48).all(|i| last_row[i] == 1 || view.tokens[i] == before[i]));
        assert_ne!(view.tokens, before);
    }
    assert_eq!(stepper.view(), resumed.view());
}

#[test]
fn what_editing_keeps_cannot_be_changed() {
    let shapes = load();
    let mut stepper = open(&shapes, request(Some(boxed(&shapes))));
    (0..7).for_each(|_| stepper.step(&cancel()).unwrap());
    assert!(stepper.open_positions(&[1; 48]).is_err());
    let mut tokens = stepper.view().tokens.to_vec();
    tokens[5] = (tokens[5] + 1) % 1024;
    stepper.replace_tokens(&tokens, None).unwrap();
    tokens[0] = (tokens[0] + 1) % 1024;
    assert!(stepper.replace_tokens(&tokens, None).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let shapes = load();
    let mut stepper = open(&shapes, request(None));
    assert!(stepper.replace_tokens(&[0; 3], None).is_err());
    stepper.step(&cancel()).unwrap();
    assert!(stepper.replace_tokens(&[0; 4], None).is_err());
    assert!(stepper.replace_tokens(&[1024; 3], None).is_err());
    assert!(stepper.replace_tokens(&[0; 3], Some(&[0.5; 2])).is_err());
    for confidence in [-0.5, 1.5, f32::NAN, f32::INFINITY] {
        assert!(stepper.replace_tokens(&[0; 3], Some(&[confidence; 3])).is_err());
    }
    let ended = cancel();
    ended.cancel();
    assert_eq!(stepper.step(&ended).unwrap_err().code, Code::Cancelled);
    assert_eq!(stepper.next(), 1);
}

#[test]
fn damaged_sessions_are_refused_or_harmless() {
    let shapes = load();
    let mut stepper = open(&shapes, request(Some(boxed(&shapes))));
    (0..8).for_each(|_| stepper.step(&cancel()).unwrap());
    let saved = stepper.save("").unwrap();
    let mut refused = 0;
    for at in 0..saved.len() {
        // Every byte of the header, some of the rest.
        if at > 1000 && at % 997 != 0 {
            continue;
        }
        let mut damaged = saved.clone();
        damaged[at] ^= 0x41;
        match resume(&shapes, request(None), &damaged) {
            Ok(mut other) if other.next() == 8 => other.step(&cancel()).unwrap(),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.code, Code::SessionInvalid, "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "{refused}");
    for length in (0..saved.len()).filter(|length| *length <= 1000 || length % 97 == 0) {
        let error = resume(&shapes, request(None), &saved[..length]).err().unwrap();
        assert_eq!(error.code, Code::SessionInvalid, "cut to {length} bytes: {error}");
    }
    let fewer = Request { labels: vec![4, 10], ..request(None) };
    assert_eq!(resume(&shapes, fewer, &saved).err().unwrap().code, Code::SessionInvalid);
}

/// A VAR model of toy size: later scales attend to earlier ones through a cache.
#[test]
fn a_cache_is_filled_again() {
    let pyramid = vec![1, 2, 3, 4];
    let config = ModelConfig {
        depth: 2,
        width: 128,
        heads: 2,
        pyramid: pyramid.clone(),
        ..ModelConfig::released(16, Layout::Var)
    };
    let tokenizer = TokenizerConfig::released();
    let backend = Arc::new(CpuBackend::new(None).unwrap());
    let (source, codes) = (Synthetic::model(&config), Synthetic::tokenizer(&tokenizer));
    let model = Arc::new(Model::load(backend, config, &source, &tokenizer, &codes, &options()).unwrap());

    for smooth in [false, true] {
        let make = || {
            let mut plan = plan(&[&[1], &[4], &[9], &[16]]);
            plan.passes.iter_mut().for_each(|pass| pass.smooth = smooth);
            Request { plan, labels: vec![3, 900], ..request(None) }
        };
        let mut stepper = Stepper::open(Arc::clone(&model), make()).unwrap();
        (0..2).for_each(|_| stepper.step(&cancel()).unwrap());
        stepper.replace_tokens(&[1, 2, 3, 4, 5, 6, 7, 8], None).unwrap();
        let saved = stepper.save("").unwrap();
        let mut other = Stepper::resume(Arc::clone(&model), make(), &saved, None, &cancel()).unwrap();
        (0..2).for_each(|_| stepper.step(&cancel()).unwrap());
        (0..2).for_each(|_| other.step(&cancel()).unwrap());
        assert_eq!(stepper.save("").unwrap(), other.save("").unwrap());
    }
}
