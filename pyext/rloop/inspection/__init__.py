"""The live view: what a process answers (answers.py, tasks.py), and who asks for it.

`client.py` talks to processes and `processes.py` finds them in /proc, `survey.py` asks all of them;
`figures.py` makes figures of two answers; `text.py` has the words, `drawing.py` and `top.py` the
tables; `commands.py` is the command line. The two halves meet only in the JSON that `answers.py`
describes. Nothing of this is imported by ``import rloop``.
"""
