package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadSchedulerConfig(t *testing.T) {
	const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		disable    []string
		want       string // part of the error; "" is none
	}{
		{"two profiles", head + "profiles: [{schedulerName: default-scheduler}, {schedulerName: packing}]", nil, ""},
		{"another kind", "apiVersion: v1\nkind: Pod", nil, "write apiVersion: kubescheduler.config.k8s.io/v1"},
		{"unknown plugin", head + "profiles: [{plugins: {filter: {enabled: [{name: Mine}]}}}]", nil, `profiles[0]: plugin "Mine" is not part`},
		{"no YAML", "{", nil, "--scheduler-config " + dir},
		{"without a scheduler", head, []string{PartScheduler}, "leave out one of them"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-")+".yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c := valid(func(c *Config) { c.SchedulerConfig, c.Disable = file, tt.disable })
			err := c.readSchedulerConfig()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err == nil && (c.scheduling == nil || len(c.scheduling.Profiles) != 2 || c.scheduling.Profiles[1].Name != "packing") {
				t.Errorf("read %+v", c.scheduling)
			}
		})
	}
	missing := valid(func(c *Config) { c.SchedulerConfig = filepath.Join(dir, "missing.yaml") })
	if err := missing.readSchedulerConfig(); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
	none := valid()
	if err := none.readSchedulerConfig(); err != nil || none.scheduling != nil {
		t.Errorf("without a file: %v %+v", err, none.scheduling)
	}
}
