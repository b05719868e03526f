import time, sys, torch, pytest, cProfile, pstats, os
class Spy:
    def pytest_unconfigure(self):
        print("NEW", sorted(set(sys.modules)-self.before))
def test_a(project):
    s = Spy(); s.before=set(sys.modules)
    r = project.models("--mad-json=out.json", plugins=[s])
    s.before=set(sys.modules)
    r = project.models("--mad-json=out.json", plugins=[s])
    assert 0
