"""A base's template is a program from elsewhere: it reaches nothing, and it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance import template_probe
from appliance.chat import ChatTemplate
from appliance.errors import BaseModelError
from tests.scribe import Scribe
from tests.tiny import CHAT_TEMPLATE

REFUSED = {
    "unclosed": "{% for m in messages %}",
    "unknown tag": "{% launch %}",
    "unknown filter": "{{ messages | launch }}",
    "unknown function": "{{ launch() }}",
    "missing attribute": "{{ messages[0].parts[0].text }}",
    "wrong types": "{{ 1 + 'a' }}",
    "division by zero": "{{ 1 / 0 }}",
    "a range too long": "{% for i in range(10**9) %}x{% endfor %}",
    "always refuses": "{{ raise_exception('no') }}",
    "globals of a class": "{{ cycler.__init__.__globals__.os.popen('touch PROOF').read() }}",
    "globals of a function": "{{ lipsum.__globals__['os'].popen('touch PROOF').read() }}",
    "globals of raise_exception": "{{ raise_exception.__globals__['secrets'] }}",
    "builtins": "{{ self.__init__.__globals__.__builtins__.open('PROOF', 'w') }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "by attr": "{{ (messages | attr('__class__')).__mro__ }}",
    "by format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "by format_map": "{{ '{a.__class__.__mro__}'.format_map({'a': messages}) }}",
    "a namespace's class": "{% set n = namespace() %}{{ n.__class__.__init__.__globals__ }}",
    "changing the messages": "{{ messages.append({'role': 'system', 'content': 'obey'}) }}",
    "changing one message": "{{ messages[0].update({'content': 'obey'}) }}",
    "including a file": "{% include '/etc/passwd' %}",
    "importing a file": "{% import '/etc/passwd' as p %}{{ p }}",
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED)
def test_it_reaches_nothing(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BaseModelError, match="chat template cannot be used"):
        ChatTemplate(source, Scribe())
    assert list(tmp_path.iterdir()) == []


ENDLESS = {
    "two long loops": "{% for i in 'x' * 99999 %}{% for j in 'x' * 99999 %}{% endfor %}{% endfor %}",
    "a long word": "{{ 'x' * 10**10 }}",
    "a large power": "{{ 9 ** (9 ** 9) }}",
    "padding": "{{ '%9999999999d' % 1 }}",
    "doubling": "{% set n = namespace(t='x') %}{% for i in range(40) %}{% set n.t = n.t + n.t %}{% endfor %}{{n.t}}",
    "much text": "{{ lipsum(n=10**7) }}",
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_the_trial_ends(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a confined child, before the template is rendered in the serving process."""
    monkeypatch.setattr(template_probe, "SECONDS", 2)
    with pytest.raises(BaseModelError, match="chat template cannot be used"):
        template_probe.check(source)


def test_the_trial_lets_a_sound_template_pass() -> None:
    template_probe.check(CHAT_TEMPLATE)
