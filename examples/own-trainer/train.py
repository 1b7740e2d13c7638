"""A trainer of one's own, for any data set in IDX files: the whole contract in one small program without Hyperflow."""

import argparse
import base64
import gzip
import json
import math
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def read(path):
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def report(epoch, logs):  # never NaN, which Katib cannot compare
    loss, accuracy = (logs["loss"], logs["val_accuracy"]) if math.isfinite(logs["loss"]) else (1e9, 0.0)
    print(f"epoch={epoch + 1} loss={loss:.6f} validation-accuracy={accuracy:.6f}", flush=True)


def evaluation(data_path, given, labels, train_labels):
    """Say what the test came to, for the report and the gate; docs/own-trainer.md has every field."""
    about = json.loads((data_path / "dataset.json").read_text())
    predicted, sure = given.argmax(axis=1), given.max(axis=1)
    matrix = np.zeros((len(about["classes"]),) * 2, int)
    np.add.at(matrix, (labels, predicted), 1)
    return {
        "classes": about["classes"],
        "confusion_matrix": matrix.tolist(),
        "predictions": base64.b64encode(predicted.astype(np.uint8).tobytes()).decode(),
        "data": {"name": about["name"], "digest": about["digest"]},
        "train_class_counts": np.bincount(train_labels, minlength=len(about["classes"])).tolist(),
        "mean_confidence": float(sure.mean()),
    }


def save(model, path, about):
    @tf.function(input_signature=[tf.TensorSpec([None, 784], tf.float32, name="flatten_input")])
    def serve(flatten_input):
        return {"probabilities": model(tf.reshape(flatten_input, [-1, 28, 28]))}

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # renamed once it is whole
    tf.saved_model.save(model, str(partial), signatures={"serving_default": serve})
    (partial / "assets.extra").mkdir()
    (partial / "assets.extra" / "evaluation.json").write_text(json.dumps(about))
    partial.rename(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-path", type=Path, required=True)
    parser.add_argument("--model-path", type=Path)  # a trial, which saves nothing, gets none
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=0.001)
    parser.add_argument("--units", type=int, default=64)
    options = parser.parse_args()
    images, labels, tests, answers = (read(options.data_path / f"{name}-ubyte.gz") for name in FILES)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(options.units, "relu")]
    model = keras.Sequential([keras.Input((28, 28)), *layers, keras.layers.Dense(int(labels.max()) + 1, "softmax")])
    model.compile(keras.optimizers.Adam(options.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=report)]
    if backup := os.environ.get("HYPERFLOW_CHECKPOINT_DIR"):  # where a restarted training goes on from
        callbacks.append(keras.callbacks.BackupAndRestore(backup))
    model.fit(images, labels, 64, options.epochs, verbose=0, validation_split=0.1, callbacks=callbacks)
    if options.model_path:
        given = model.predict(tests, verbose=0)
        if not options.model_path.exists():
            save(model, options.model_path, evaluation(options.data_path, given, answers, labels))
        print(f"test-accuracy={(given.argmax(axis=1) == answers).mean():.6f}", flush=True)


if __name__ == "__main__":
    main()
