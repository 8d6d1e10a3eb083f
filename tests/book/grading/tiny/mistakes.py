"""Solutions that the grader's tests mix: each answer and its points."""

# leaktinyxq

from tools.assignments.master import Variant

ANSWERS = {
    "count": {
        "def count(n, batch):\n    return batch * n**2": 3,
        "def count(n, batch):\n    return n * n": 1,
        "count = lambda n, batch: n": 0,
        "def count(n, batch):\n    raise NotImplementedError": 0,
        "def count(n, batch)\n    return batch * n * n": 0,
    },
    "softmax": {
        "import numpy as np\ndef softmax(s):\n    e = np.exp(s - s.max(-1, keepdims=True))\n"
        "    return e / e.sum(-1, keepdims=True)": 4,
        "import numpy as np\ndef softmax(s):\n    e = np.exp(s)\n    return e / e.sum(-1, keepdims=True)": 2,
        "import numpy as np\ndef softmax(s):\n    e = np.exp(s - s.max())\n    return e": 0,
        "import numpy as np\ndef softmax(s):\n    e = np.exp(s - s.max(-1)[..., None])\n"
        "    return (e / e.sum(-1)[..., None]).tolist()": 4,
    },
    "attend": {
        "def attend(q, k, v):\n    out = softmax(q @ k.T / q.shape[-1] ** 0.5) @ v\n"
        "    return dict(shape=[*out.shape], out=out)": {4: 6, 2: 6, 0: 3},
        "def attend(q, k, v):\n    out = np.stack([v.mean(0)] * len(q))\n"
        "    return dict(shape=[*out.shape], out=out)": {4: 3, 2: 3, 0: 3},
        "def attend(q, k, v):\n    return {'out': v, 'shape': tuple(v.shape)}": {4: 1, 2: 1, 0: 1},
    },
}

MISTAKES = (Variant("pairs of one sequence", {"count": "def count(n, batch):\n    return n * n"}, {"count": 1}),)
RIGHT = (Variant("otherwise written", {"count": "def count(n, batch):\n    return sum([n * n] * batch)"}),)
