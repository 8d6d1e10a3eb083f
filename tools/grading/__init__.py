"""The grader: trusted examiners call adapters of students' notebooks, which run in processes of their own.

run.py      the command: a queue of submissions, two at a time, resumed where it ended
examine.py  an examiner: runs the tests of one submission after the other, and never what a student wrote
student.py  what a test calls: `student.run_x(...)`, answered by a worker
keeper.py   starts a worker in namespaces and limits, watches it, and ends all that it started
worker.py   runs the notebook and answers calls; the only process with students' code
wire.py     values between the two: JSON and buffers, no pickle
report.py   the CSV, a page a student, the page of the class
"""
