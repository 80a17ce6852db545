// Package sentences says in words what stands between a pod and a node, and what would
// remove it, in English and Korean. It is a pure function of the answers of package
// outlook.
package sentences

import (
	"fmt"
	"strings"

	"github.com/sinawi/sinawi/internal/cli/language"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/outlook"
)

// Speaker speaks one language.
type Speaker language.Language

func (s Speaker) say(en, ko string, args ...any) string {
	return fmt.Sprintf(language.Text{EN: en, KO: ko}.In(language.Language(s)), args...)
}

// Obstacles says why a node does not take a pod.
func (s Speaker) Obstacles(n outlook.Node) string {
	parts := make([]string, 0, len(n.Obstacles))
	for _, o := range n.Obstacles {
		parts = append(parts, s.Obstacle(o))
	}
	return strings.Join(parts, "; ")
}

// Changes says what would let a node take a pod.
func (s Speaker) Changes(n outlook.Node) string {
	parts := make([]string, 0, len(n.Obstacles))
	for _, o := range n.Obstacles {
		parts = append(parts, s.Change(o))
	}
	return strings.Join(parts, s.say(" and ", " 그리고 "))
}

// Obstacle says what one rule has against a node.
func (s Speaker) Obstacle(o outlook.Obstacle) string {
	if o.Resource != "" {
		return s.resource(o)
	}
	switch engine.Rule(o.Rule) {
	case engine.RuleTaints:
		return s.say("has taint %s, which the pod does not tolerate", "테인트 %s가 있는데 파드가 용인하지 않음", o.Taint)
	case engine.RuleUnschedulable:
		return s.say("takes no new pods (cordoned)", "새 파드를 받지 않음 (cordon)")
	case engine.RuleNodeName:
		return s.say("is not the node that the pod names", "파드가 지정한 노드가 아님")
	case engine.RuleNodeAffinity:
		if len(o.Labels) == 0 {
			return s.say("has not the labels that the pod wants", "파드가 원하는 레이블이 없음")
		}
		return s.say("lacks %s", "%s 조건에 맞지 않음", strings.Join(o.Labels, ", "))
	case engine.RulePorts:
		if len(o.Ports) == 0 {
			return s.say("has the pod's host port in use", "파드의 호스트 포트가 사용 중")
		}
		return s.say("has port %s in use", "포트가 사용 중: %s", strings.Join(o.Ports, ", "))
	case engine.RuleSpread:
		if o.Limit > 0 {
			return s.say("with it %s would have %d such pods, at most %d are allowed", "%s에 그런 파드가 %d개가 되는데 최대 %d개까지 허용됨", o.Domain, o.Count, o.Limit)
		}
		return s.say("is in no domain of the pod's topology spread constraint", "파드의 토폴로지 분산 제약에 속하는 영역이 아님")
	case engine.RuleInterPod:
		where := ""
		if o.Domain != "" {
			where = " (" + o.Domain + ")"
		}
		return o.Reason + where
	}
	return o.Reason
}

func (s Speaker) resource(o outlook.Obstacle) string {
	switch {
	case o.Resource == "pods":
		return s.say("is full: %s pods at most", "가득 참: 파드 최대 %s개", o.Total)
	case o.TooBig:
		return s.say("needs %s %s, the node has only %s", "%s %s가 필요하지만 노드 전체가 %s뿐", o.Wanted, name(o.Resource), o.Total)
	}
	return s.say("needs %s %s, %s of %s is free", "%s %s가 필요하지만 %s만 남음 (전체 %s)", o.Wanted, name(o.Resource), o.Free, o.Total)
}

func name(resource string) string {
	if resource == "cpu" {
		return "CPU"
	}
	return resource
}

// Change says what would remove an obstacle.
func (s Speaker) Change(o outlook.Obstacle) string {
	if o.Resource != "" {
		return s.relief(o)
	}
	switch engine.Rule(o.Rule) {
	case engine.RuleTaints:
		return s.say("the pod tolerated %s", "파드가 %s를 용인한다면", o.Taint)
	case engine.RuleUnschedulable:
		return s.say("it was uncordoned", "노드를 uncordon 한다면")
	case engine.RuleNodeAffinity:
		return s.say("it had the labels, or the pod asked for others", "노드에 그 레이블이 있거나 파드의 조건을 바꾼다면")
	case engine.RulePorts:
		return s.say("that pod ended, or this one used another port", "그 파드가 끝나거나 이 파드가 다른 포트를 쓴다면")
	case engine.RuleSpread:
		return s.say("the constraint allowed more skew, or pods ended in %s", "제약의 maxSkew를 늘리거나 %s의 파드가 끝난다면", o.Domain)
	case engine.RuleInterPod:
		return s.say("the pods' affinity rules allowed it", "파드 어피니티 규칙이 허용한다면")
	}
	return s.say("that changed", "그것이 바뀐다면")
}

func (s Speaker) relief(o outlook.Obstacle) string {
	switch {
	case len(o.Frees) > 0:
		f := o.Frees[0]
		who := "pod " + f.Namespace + "/" + f.Name
		if f.Owner != nil {
			who = strings.ToLower(f.Owner.Kind) + " " + f.Namespace + "/" + f.Owner.Name
		}
		return s.say("%s ended, which frees %s %s", "%s가 끝난다면 (%s %s 반환)", who, f.Amount, name(o.Resource))
	case o.Resource == "pods":
		return s.say("a pod left", "파드 하나가 나간다면")
	case o.TooBig && o.Total == "0":
		return s.say("it had any %s", "노드에 %s가 있다면", name(o.Resource))
	case o.TooBig:
		return s.say("the pod asked for at most %s", "파드의 요청이 %s 이하라면", o.Total)
	}
	return s.say("%s %s more was free, or the pod asked for %s", "%s %s가 더 남거나 파드의 요청이 %s라면", o.Missing, name(o.Resource), o.Free)
}

// Verdict is the first line about a pod: whether it can run, and where.
func (s Speaker) Verdict(a outlook.Answer) string {
	who := a.Namespace + "/" + a.Name
	fits := len(a.Fits())
	switch {
	case len(a.Gates) > 0:
		return s.say("pod %s is held by its scheduling gates: %s", "파드 %s는 스케줄링 게이트에 걸려 있습니다: %s", who, strings.Join(a.Gates, ", "))
	case a.Scheduler != "" && a.Node == "":
		return s.say("pod %s waits for its own scheduler %q; these are the answers of Sinawi's", "파드 %s는 자체 스케줄러 %q를 기다립니다. 아래는 시나위의 답입니다", who, a.Scheduler)
	case a.Problem != "":
		return s.say("pod %s can run nowhere yet: %s", "파드 %s는 아직 어디서도 실행할 수 없습니다: %s", who, a.Problem)
	case a.Node != "":
		return s.say("pod %s is on node %s; %d of %d nodes could have it", "파드 %s는 노드 %s에 있습니다. 노드 %[4]d개 중 %[3]d개가 받을 수 있습니다", who, a.Node, fits, len(a.Nodes))
	case len(a.Nodes) == 0:
		return s.say("pod %s waits: the cluster has no node", "파드 %s가 기다립니다: 클러스터에 노드가 없습니다", who)
	case fits == 0:
		return s.say("pod %s waits: none of %d nodes can take it", "파드 %s가 기다립니다: 노드 %d개 중 받을 수 있는 것이 없습니다", who, len(a.Nodes))
	}
	return s.say("pod %s can run on %d of %d nodes", "파드 %s는 노드 %[3]d개 중 %[2]d개에서 실행할 수 있습니다", who, fits, len(a.Nodes))
}

// Advice is the last line: the smallest change that would help.
func (s Speaker) Advice(a outlook.Answer) string {
	var out []string
	if a.Smallest != nil {
		out = append(out, s.say("Smallest change: node %s would take it if %s.", "가장 작은 변화: 노드 %s가 받을 수 있는 조건은 — %s.", a.Smallest.Node, s.Changes(*a.Smallest)))
	}
	if p := a.Preemption; p != nil {
		out = append(out, s.say("By its priority it may take the place of %s on node %s.", "우선순위에 따라 노드 %[2]s에서 %[1]s의 자리를 차지할 수 있습니다.", strings.Join(p.Victims, ", "), p.Node))
	}
	return strings.Join(out, "\n")
}
