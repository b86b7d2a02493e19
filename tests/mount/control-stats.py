#!/usr/bin/python3
""".sbxfs/stats is the text format of Prometheus, to the letter, and its
counters move by what was done."""
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import ctypes, re, unittest
from sbxmount import RUNS, Mount

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
KINDS = {"counter": ("",), "gauge": ("",),
         "histogram": ("_bucket", "_sum", "_count")}


def parse_sample(line):
    """name, labels as a sorted tuple of pairs, value"""
    name = NAME.match(line)[0]
    rest, labels = line[len(name):], []
    if rest.startswith("{"):
        rest = rest[1:]
        while not rest.startswith("}"):
            m = LABEL.match(rest)
            assert m, "no label: " + rest
            labels.append((m[1], re.sub(
                r"\\(.)", lambda e: "\n" if e[1] == "n" else e[1], m[2])))
            rest = rest[m.end():]
            assert rest[0] in ",}", rest
            rest = rest[1:] if rest[0] == "," else rest
        rest = rest[1:]
    assert re.fullmatch(r" \d+(\.\d+)?", rest), "no value: " + line
    assert len(set(k for k, v in labels)) == len(labels), line
    return name, tuple(sorted(labels)), float(rest)


def check_histogram(family, samples):
    """each set of labels has buckets that grow, up to +Inf, and a sum"""
    series = {}
    for (name, labels), value in samples.items():
        plain = tuple(l for l in labels if l[0] != "le")
        of = series.setdefault(plain, {"le": []})
        if name == family + "_bucket":
            of["le"].append((float(dict(labels)["le"]), value))
        else:
            assert plain == labels, labels
            of[name[len(family):]] = value
    for of in series.values():
        assert of["le"] == sorted(of["le"]), of
        values = [v for le, v in of["le"]]
        assert values == sorted(values), of
        assert of["le"][-1] == (float("inf"), of["_count"]), of
        assert of["_sum"] > 0 or not of["_count"], of


def parse(text):
    """samples by (name, labels); AssertionError if it is not the format"""
    assert text.endswith("\n")
    samples, families, family, kind, own = {}, set(), None, None, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            if kind == "histogram":
                check_histogram(family, own)
            family, help_ = line[7:].split(" ", 1)
            assert NAME.fullmatch(family) and help_, line
            assert family not in families, "twice: " + family
            families.add(family)
            kind, own = None, {}
        elif line.startswith("# TYPE "):
            assert kind is None, line
            of, kind = line[7:].split(" ")
            assert of == family and kind in KINDS, line
            assert kind != "counter" or family.endswith("_total"), line
        else:
            name, labels, value = parse_sample(line)
            assert name in [family + s for s in KINDS[kind]], line
            assert (name, labels) not in samples, "twice: " + line
            samples[name, labels] = own[name, labels] = value
    return samples


class Stats(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.m = Mount()
        cls.m.create("t")
        cls.work = cls.m.path("t", "workspace")

    @classmethod
    def tearDownClass(cls):
        cls.m.close()

    def samples(self):
        with open(self.m.path(".sbxfs", "stats")) as f:
            return parse(f.read())

    def moved(self, fn):
        """what fn adds, as a function of a name and its labels"""
        before = self.samples()
        fn()
        after = self.samples()
        for key, value in before.items():
            if key[0].endswith(("_total", "_count", "_bucket", "_sum")):
                self.assertGreaterEqual(after[key], value, key)

        def of(name, **labels):
            key = "sbxfs_" + name, tuple(sorted(labels.items()))
            return after.get(key, 0) - before.get(key, 0)
        return of

    def cache(self, of, what):
        return (of("cache_hits_total", cache=what),
                of("cache_misses_total", cache=what))

    def test_the_parser_is_strict(self):
        good = "# HELP a_total b\n# TYPE a_total counter\na_total{x=\"1\"} 2\n"
        self.assertEqual(parse(good), {("a_total", (("x", "1"),)): 2.0})
        for bad in (good[:-1], good + 'a_total{x="1"} 3\n',
                    good + "b_total 1\n", good + good,
                    good.replace("counter", "number"),
                    good.replace("a_total", "a"), good.replace(" 2", " two"),
                    good.replace('"1"', '"1'), good.replace('"1"', '"\\1"'),
                    good.replace('"1"', '"1",x="1"'), good + "\n"):
            with self.assertRaises((AssertionError, TypeError), msg=bad):
                parse(bad)
        lines = ["# HELP h b\n# TYPE h histogram\n", 'h_bucket{le="1"} 1\n',
                 'h_bucket{le="+Inf"} 2\n', "h_sum 3\n", "h_count 2\n"]
        tail = "# HELP z b\n"
        parse("".join(lines) + tail)
        for i, bad in ((1, 'h_bucket{le="1"} 3\n'), (2, ""),
                       (2, 'h_bucket{le="+Inf"} 3\n'), (4, "")):
            with self.assertRaises((AssertionError, KeyError), msg=bad):
                parse("".join(lines[:i] + [bad] + lines[i + 1:]) + tail)

    @unittest.skipIf(RUNS, "a VM's name has nothing to be escaped")
    def test_names_of_sandboxes_are_escaped(self):
        name = 'a"b\\c{d},e=f'
        self.m.create(name)
        os.listdir(self.m.path(name, "workspace"))
        self.assertIn(("sbxfs_answers_total", (("sandbox", name),)),
                      self.samples())
        os.rmdir(self.m.path(name))

    def test_entries(self):
        # a large folder is not listed ahead of need
        self.m.run("t", "mkdir e; touch e/there; mkdir e2; cd e2; "
                   "seq -f a-rather-long-name-%g 8000 | xargs touch")
        os.listdir(self.work + "/e")
        of = self.moved(lambda: [os.path.exists(self.work + "/e/no%d" % i)
                                 for i in range(5)])
        if not RUNS:  # what is known for a second, which may be over
            self.assertEqual(self.cache(of, "entries"), (5, 0))
            self.assertEqual(of("requests_total", sandbox="t", op="lookup"), 0)
        self.assertGreaterEqual(of("operations_total", op="lookup"), 5)
        os.stat(self.work + "/e2")
        of = self.moved(lambda: os.path.exists(self.work + "/e2/no"))
        self.assertEqual(self.cache(of, "entries"), (0, 1))

    def test_listings(self):
        # as above
        self.m.run("t", "mkdir l; cd l; seq -f a-rather-long-name-%g 8000 | "
                   "xargs touch")
        os.stat(self.work + "/l")
        of = self.moved(lambda: os.listdir(self.work + "/l"))
        self.assertEqual(self.cache(of, "listings"), (0, 1))
        self.assertGreaterEqual(of("operations_total", op="readdir"), 1)
        self.assertEqual(of("operations_total", op="opendir"), 1)
        if RUNS:  # known for a second, which may be over
            return
        # changed here: the kernel asks again, and it is known
        open(self.work + "/l/c", "w").close()
        of = self.moved(lambda: os.listdir(self.work + "/l"))
        self.assertEqual(self.cache(of, "listings"), (1, 0))

    def test_attributes(self):
        self.m.run("t", "mkdir a; echo x > a/f")
        os.listdir(self.work + "/a")
        os.stat(self.work + "/a/f")
        statx, buf = ctypes.CDLL(None).statx, ctypes.create_string_buffer(256)
        path = (self.work + "/a/f").encode()

        def ask():  # AT_STATX_FORCE_SYNC: whatever the kernel knows
            self.assertEqual(statx(-100, path, 0x2000, 0x7ff, buf), 0)
        of = self.moved(ask)
        self.assertEqual(sum(self.cache(of, "attributes")), 1)
        self.assertGreaterEqual(of("operations_total", op="getattr"), 1)

    def test_content(self):
        self.m.run("t", "head -c 4194304 /dev/zero > big")

        def read():
            with open(self.work + "/big", "rb") as f:
                while f.read(1 << 17):
                    pass
        of = self.moved(read)
        hits, misses = self.cache(of, "content")
        self.assertGreaterEqual(misses, 1)
        # and those of this file itself
        self.assertLessEqual(hits + misses, of("operations_total", op="read"))
        self.assertGreaterEqual(hits + misses, 4)
        self.assertGreaterEqual(of("received_bytes_total", sandbox="t"),
                                4194304)
        of = self.moved(read)  # the kernel has kept it
        self.assertEqual(self.cache(of, "content"), (0, 0))

    def test_latencies(self):
        def change():
            for i in range(3):
                os.mkdir(self.work + "/d%d" % i)
        of = self.moved(change)
        self.assertEqual(of("request_seconds_count", op="mkdir"), 3)
        self.assertEqual(of("request_seconds_bucket", op="mkdir", le="+Inf"),
                         3)
        self.assertGreater(of("request_seconds_sum", op="mkdir"), 0)
        self.assertEqual(of("operations_total", op="mkdir"), 3)
        self.assertEqual(of("requests_total", sandbox="t", op="mkdir"), 3)
        # that of a wait is as long as the wait
        self.m.run("t", "touch slow")
        self.m.control("fault delay 300")
        try:
            of = self.moved(lambda: os.mkdir(self.work + "/slow2"))
        finally:
            self.m.control("fault delay 0")
        self.assertEqual(of("request_seconds_bucket", op="mkdir", le="0.2"), 0)
        self.assertGreaterEqual(of("request_seconds_sum", op="mkdir"), 0.3)

    def test_every_request_is_counted(self):
        def ask():
            os.close(os.open(self.m.path("t", "events"), os.O_RDONLY))
            if RUNS:  # where there are none
                return
            terminal = self.m.path("t", "terminals", "x")
            os.mkdir(terminal)
            os.rmdir(terminal)
        of = self.moved(ask)
        self.assertGreaterEqual(
            of("requests_total", sandbox="t", op="report"), 1)
        self.assertEqual(of("requests_total", sandbox="t", op="hangup"),
                         not RUNS)

    def test_what_is_told_does_not_grow_with_sandboxes(self):
        """but for the few lines of each that is in use"""
        def families():
            return {name for name, labels in self.samples()
                    if "sandbox" not in dict(labels)}
        self.m.create("one")
        os.listdir(self.m.path("one", "workspace"))
        names, nr = families(), len(self.samples())
        for i in range(5):
            self.m.create("more")
            os.listdir(self.m.path("more", "workspace"))
            os.rmdir(self.m.path("more"))
        self.assertEqual(families(), names)
        self.assertLessEqual(len(self.samples()), nr + 30)
        os.rmdir(self.m.path("one"))


if __name__ == "__main__":
    unittest.main()
