package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func TestParse(t *testing.T) {
	got, err := Parse([]byte(head + `
podInitialBackoffSeconds: 2
leaderElection: {leaderElect: false}
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}, {name: NotThere}]
    score:
      disabled: [{name: "*"}]
      enabled: [{name: NodeResourcesFit, weight: 5}]
    filter:
      disabled: [{name: NodePorts}]
    postFilter:
      disabled: [{name: DefaultPreemption}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      ignoredResourceGroups: [example.com]
      scoringStrategy:
        type: MostAllocated
        resources: [{name: cpu, weight: 3}, {name: memory}]
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 30}
  - name: PodTopologySpread
    args:
      defaultingType: List
      defaultConstraints: [{maxSkew: 1, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [batch]}]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if got.InitialBackoff != 2*time.Second || got.MaxBackoff != 10*time.Second || len(got.Profiles) != 2 {
		t.Fatalf("got %+v", got)
	}
	if diff := cmp.Diff(defaultProfile(), got.Profiles[0]); diff != "" {
		t.Errorf("a profile without settings (-default +got):\n%s", diff)
	}
	p := got.Profiles[1]
	if diff := cmp.Diff(map[engine.Rule]int64{engine.RuleResources: 5}, p.Weights); diff != "" {
		t.Errorf("weights:\n%s", diff)
	}
	if !p.Off[engine.RulePorts] || p.Off[engine.RuleResources] || !p.NoPreemption || p.BindTimeout != 30*time.Second {
		t.Errorf("got %+v", p)
	}
	if p.Strategy != engine.MostAllocated || !p.IgnoredResourceGroups["example.com"] || p.SystemSpread || len(p.DefaultSpread) != 1 || p.AddedAffinity == nil {
		t.Errorf("arguments were not taken: %+v", p.Profile)
	}
	if diff := cmp.Diff([]engine.Weighted{{Name: corev1.ResourceCPU, Weight: 3}, {Name: corev1.ResourceMemory, Weight: 1}}, p.Resources); diff != "" {
		t.Errorf("resources:\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	profile := func(s string) string { return head + "profiles: [" + s + "]" }
	for _, tt := range []struct{ name, in, want string }{
		{"another kind", "apiVersion: v1\nkind: Pod", "apiVersion: kubescheduler.config.k8s.io/v1"},
		{"unknown field", head + "profile: []", "profile"},
		{"extender", head + `extenders: [{urlPrefix: "http://x"}]`, "extenders"},
		{"unknown plugin", profile("{plugins: {filter: {enabled: [{name: Mine}]}}}"), "Mine"},
		{"same name twice", profile("{}, {}"), "twice"},
		{"arguments of nobody", profile("{pluginConfig: [{name: Mine, args: {}}]}"), "Mine"},
		{"percentage", profile("{pluginConfig: [{name: DefaultPreemption, args: {minCandidateNodesPercentage: 101}}]}"), "between 0 and 100"},
		{"default selector", profile("{pluginConfig: [{name: PodTopologySpread, args: {defaultingType: List, defaultConstraints: [{labelSelector: {}}]}}]}"), "must be empty"},
		{"shape", profile("{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio}}}]}"), "needs a shape"},
		{"backoff", head + "podMaxBackoffSeconds: 0", "podMaxBackoffSeconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head))
	f.Add([]byte(head + "profiles: [{plugins: {score: {disabled: [{name: '*'}]}}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil && len(c.Profiles) == 0 {
			t.Error("accepted a configuration without a profile")
		}
	})
}
