"""The end that every pipeline shares: train, decide, then deploy and predict only on a yes."""

from kfp import dsl

from components.decide import decide
from components.deploy import deploy
from components.predict import predict
from components.train import train
from pipelines import settings
from pipelines.wiring import Given, step


def deliver(given: Given) -> None:
    """Train with known hyper-parameters; serve the model if it deserves it, and test it where it is served."""
    trained = settings.apply(step(train, given), given)
    given = {**given, **trained.outputs}
    longest = settings.HOUR + settings.WEEK  # a person may take the week
    decided = settings.asking(settings.apply(step(decide, given), given, timeout=longest))
    with dsl.If(decided.outputs["Output"] == "deploy", name="deserved"):
        deployed = settings.asking(settings.apply(step(deploy, given), given))
        tested = settings.apply(step(predict, given, url=deployed.output), given, timeout=settings.HOUR)
        settings.asking(tested)
