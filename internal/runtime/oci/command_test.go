package oci

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]struct {
		name string
		args []string
		root string
		err  string
	}{
		"--root /r --log /l --log-format json create --bundle /b c": {name: "create", args: []string{"--bundle", "/b", "c"}, root: "/r"},
		"--systemd-cgroup kill c 9":                                 {name: "kill", args: []string{"c", "9"}, root: "/run/runc"},
		"--version":                                                 {name: "--version"},
		"":                                                          {err: "no command"},
		"fly":                                                       {err: `no command "fly"`},
		"--root / state c":                                          {err: "must not be /"},
		"--log-format xml state c":                                  {err: "neither text nor json"},
		"--unknown state c":                                         {err: "usage"},
	} {
		inv, err := parse(strings.Fields(line))
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%q: %v", line, err)
			}
			continue
		}
		if err != nil || inv.name != want.name || want.root != "" && inv.root != want.root || cmp.Diff(want.args, inv.args) != "" {
			t.Errorf("%q: %+v, %v", line, inv, err)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]unix.Signal{"9": 9, "KILL": unix.SIGKILL, "SIGTERM": unix.SIGTERM, "hup": unix.SIGHUP, "none": 0, "": 0} {
		got, err := parseSignal(s)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

func TestApplyKeepsWhatIsNotNamed(t *testing.T) {
	r := &cgroups.Resources{Memory: 100, CpuQuota: 5, CpuShares: 7, MemorySwap: 200}
	change, err := parseResources([]byte(`{"memory":{"limit":-1},"cpu":{"shares":1024,"cpus":"0"},"pids":{"limit":9}}`))
	if err != nil {
		t.Fatal(err)
	}
	apply(r, change)
	if r.Memory != -1 || r.MemorySwap != 0 || r.CpuQuota != 5 || r.CpuShares != 1024 || r.CpusetCpus != "0" || *r.PidsLimit != 9 {
		t.Errorf("got %+v", r)
	}
}

func TestMainSaysWhatIsWrong(t *testing.T) {
	for line, code := range map[string]int{"fly": 64, "--root /nonexistent state c": 1, "--root /nonexistent exec c": 255, "--root /nonexistent delete --force c": 0} {
		var out, errOut bytes.Buffer
		if got := Main(strings.Fields(line), strings.NewReader(""), &out, &errOut); got != code || (code != 0) != (errOut.Len() > 0) {
			t.Errorf("%q ended with %d: %s", line, got, errOut.String())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("--root /r --log-format json exec --process p c")
	f.Add("--root")
	f.Fuzz(func(t *testing.T, line string) {
		inv, err := parse(strings.Split(line, " "))
		if err == nil && inv.name == "" {
			t.Error("neither a command nor an error")
		}
	})
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"process":{"cwd":"/","args":["a"],"user":{"additionalGids":[1]},"rlimits":[{"type":"RLIMIT_CORE"}]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := parseSpec(data)
		if err != nil {
			return
		}
		if _, err := newProcess(spec.Process); err == nil && len(spec.Process.Args) == 0 {
			t.Error("a process without a program was taken")
		}
	})
}

func FuzzParseResources(f *testing.F) {
	f.Add([]byte(`{"cpu":{"quota":1,"period":2},"hugepageLimits":[{"pageSize":"2MB","limit":1}]}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if change, err := parseResources(data); err == nil {
			apply(&cgroups.Resources{}, change)
		}
	})
}
