package doctor

import (
	"net"
	"slices"
	"testing"
)

func TestJudgeKernel(t *testing.T) {
	for release, want := range map[string]Status{
		"6.18.44-x": OK, "5.6.0": OK, "5.6-rc1": OK, "5.5.19": Fail, "4.19.0-27-amd64": Fail, "weird": Warn, "": Warn,
	} {
		if got := judgeKernel(release).Status; got != want {
			t.Errorf("%q: %s, want %s", release, got, want)
		}
	}
}

func FuzzParseRelease(f *testing.F) {
	f.Add("6.1.0-18-amd64")
	f.Fuzz(func(t *testing.T, s string) { parseRelease(s) })
}

func TestV1Controllers(t *testing.T) {
	got := v1Controllers("31 22 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"32 22 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n33 22 0:28 / /x rw - cgroup cgroup")
	if want := []string{"rw", "cpu", "cpuacct"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJudgeControllers(t *testing.T) {
	if f := judgeControllers("v2", []string{"cpu", "memory", "pids", "io"}); f.Status != OK {
		t.Errorf("got %v", f)
	}
	f := judgeControllers("v2", []string{"cpu"})
	if f.Status != Fail || f.Found != "v2, missing memory, pids" || f.Fix.EN == "" || f.Fix.KO == "" {
		t.Errorf("got %+v", f)
	}
}

func TestJudgeDisk(t *testing.T) {
	for free, want := range map[uint64]Status{gib / 2: Fail, 2 * gib: Warn, 50 * gib: OK} {
		if got := judgeDisk("/", free).Status; got != want {
			t.Errorf("%d bytes free: %s, want %s", free, got, want)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	number := l.Addr().(*net.TCPAddr).Port
	if f := apiPort(t.Context(), Options{APIPort: number}); f.Status != Fail {
		t.Errorf("got %+v, want a failure", f)
	}
	if f := apiPort(t.Context(), Options{APIPort: number, Running: true}); f.Status != OK {
		t.Errorf("our own port: %+v", f)
	}
}

// Every finding that is not good says what to do, in both languages.
func TestExamineThisMachine(t *testing.T) {
	findings := Examine(t.Context(), Options{DataDir: t.TempDir(), APIPort: 6443})
	if len(findings) != len(checks()) {
		t.Fatalf("%d findings for %d checks", len(findings), len(checks()))
	}
	for _, f := range findings {
		t.Logf("%-20s %-5s %s", f.Name.EN, f.Status, f.Found)
		if f.Name.EN == "" || f.Name.KO == "" || f.Found == "" {
			t.Errorf("incomplete finding %+v", f)
		}
		if f.Status != OK && (f.Fix.EN == "" || f.Fix.KO == "") {
			t.Errorf("%s: %s without a fix", f.Name.EN, f.Status)
		}
	}
}
