"""Ask a served model: through ingresses that want to know who asks, over KServe's V1 protocol."""

from hyperflow.client.access import COOKIE, FOLDER, INGRESS, TOKEN, Access, reach
from hyperflow.client.http import OWN_QUESTION, SECONDS, content, get, post
from hyperflow.client.refusals import refusal
from hyperflow.client.reply import Reply
from hyperflow.client.v1 import explanation, images_a_request, predict_url, probabilities
from hyperflow.specs.addresses import check_url

__all__ = [
    "COOKIE",
    "FOLDER",
    "INGRESS",
    "OWN_QUESTION",
    "SECONDS",
    "TOKEN",
    "Access",
    "Reply",
    "check_url",
    "content",
    "explanation",
    "get",
    "images_a_request",
    "post",
    "predict_url",
    "probabilities",
    "reach",
    "refusal",
]
