package sentences

import (
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/cli/language"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

func TestObstacles(t *testing.T) {
	cpu := outlook.Obstacle{Rule: string(engine.RuleResources), Resource: "cpu", Wanted: "2", Free: "1500m", Total: "4", Missing: "500m"}
	freed := cpu
	freed.Frees = []outlook.Holder{{Namespace: "batch", Name: "x-1", Owner: &outlook.Owner{Kind: "Job", Name: "x"}, Amount: "1"}}
	for _, tt := range []struct {
		obstacle    outlook.Obstacle
		why, change string
	}{
		{cpu, "needs 2 CPU, 1500m of 4 is free", "500m CPU more was free, or the pod asked for 1500m"},
		{freed, "needs 2 CPU, 1500m of 4 is free", "job batch/x ended, which frees 1 CPU"},
		{outlook.Obstacle{Rule: string(engine.RuleTaints), Taint: "gpu=true:NoSchedule"}, "has taint gpu=true:NoSchedule", "the pod tolerated gpu=true:NoSchedule"},
		{outlook.Obstacle{Rule: string(engine.RuleNodeAffinity), Labels: []string{"disk=ssd"}}, "lacks disk=ssd", "it had the labels"},
		{outlook.Obstacle{Rule: string(engine.RuleSpread), Domain: "zone=a", Count: 3, Limit: 2}, "zone=a would have 3 such pods, at most 2", "more skew"},
		{outlook.Obstacle{Rule: string(engine.RuleDevices), Reason: "cannot allocate all claims", Resource: "example.com/gpu", Wanted: "2", Free: "1", Total: "3", Missing: "1"},
			"needs 2 example.com/gpu, 1 of 3 is free", "1 example.com/gpu more was free"},
		{outlook.Obstacle{Rule: string(engine.RuleDevices), Reason: "cannot allocate all claims"}, "cannot allocate all claims", "that changed"},
		{outlook.Obstacle{Rule: "New", Reason: "something else"}, "something else", "that changed"},
	} {
		s := Speaker(language.English)
		if got := s.Obstacle(tt.obstacle); !strings.Contains(got, tt.why) {
			t.Errorf("got %q, want in it %q", got, tt.why)
		}
		if got := s.Change(tt.obstacle); !strings.Contains(got, tt.change) {
			t.Errorf("got %q, want in it %q", got, tt.change)
		}
		korean := Speaker(language.Korean)
		for _, got := range []string{korean.Obstacle(tt.obstacle), korean.Change(tt.obstacle)} {
			if strings.Contains(got, "%!") {
				t.Errorf("the sentence has holes: %q", got)
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	no := outlook.Node{Node: "n1", Obstacles: []outlook.Obstacle{{Rule: string(engine.RuleUnschedulable)}}}
	yes := outlook.Node{Node: "n2", Fits: true}
	for _, tt := range []struct {
		answer outlook.Answer
		want   string
	}{
		{outlook.Answer{Nodes: []outlook.Node{no}}, "none of 1 nodes can take it"},
		{outlook.Answer{Nodes: []outlook.Node{no, yes}}, "can run on 1 of 2 nodes"},
		{outlook.Answer{Node: "n2", Nodes: []outlook.Node{no, yes}}, "is on node n2; 1 of 2 nodes could have it"},
		{outlook.Answer{Gates: []string{"wait"}}, "held by its scheduling gates: wait"},
		{outlook.Answer{Problem: "no claim"}, "no claim"},
		{outlook.Answer{}, "no node"},
	} {
		if got := Speaker(language.English).Verdict(tt.answer); !strings.Contains(got, tt.want) {
			t.Errorf("got %q, want in it %q", got, tt.want)
		}
		if got := Speaker(language.Korean).Verdict(tt.answer); strings.Contains(got, "%!") {
			t.Errorf("the sentence has holes: %q", got)
		}
	}
	advice := Speaker(language.English).Advice(outlook.Answer{Smallest: &no, Preemption: &outlook.Preemption{Node: "n3", Victims: []string{"a/b"}}})
	if !strings.Contains(advice, "node n1 would take it if it was uncordoned") || !strings.Contains(advice, "a/b on node n3") {
		t.Errorf("advice is %q", advice)
	}
}
