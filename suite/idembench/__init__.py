"""idembench: is finetuning a language model on its own outputs idempotent?

The package in the order data flows through it; no arrow runs back up.

    errors, files                 the error tree; canonical JSON, hashes, atomic writes, sealed folders
    journal                       lines that several processes add to one file
    yaml_files, shipped           strict YAML; what comes with the package, by name
    protocol, protocol_files      what is to be done; how a baseline's file says so
    traits, trait_check           with which data; the bar that trait data has to meet
    stack, steps                  what bits depend on; the walk through a chain, as data
    store                         finished steps under the hash of what they were made from
    models, loading               a base model, found; its weights, tokenizer and the one rendering
    decoding, sampling            ids from a model; text from a checkpoint
    methods, selection            how a generation learns; which of what was sampled it learns from
    measure, judges, companions   questions through lm-eval; responses to scores
    harness                       what the English lm-eval tasks call
    toyland                       the embedded world: exact ground truth, a model that ships with the package
    timing, work, chain           where time goes; what each step does; one chain from base to its last cycle
    statistics, error_rates       effects, intervals, four statements; how often they are wrong
    record, beside_scores, runs   what is published; what stands beside its scores; from a request to records
    verify, catalogue, board      what reads records, and never needs torch
    rejudge                       stored responses under another judge
    grids, workers, sweep         which cells; processes that run chains; many chains at once, each shared step once
    crossings, calibrate          where a noisy curve crosses a level; n_seed for a trait level
    plots                         pictures of sweeps and calibrations; matplotlib
    render, render_..., cli       the terminal

From Python: `runs.cells(["sft-reset"], trait_names=["sycophancy"])`, then `runs.run` on each of them.
"""
