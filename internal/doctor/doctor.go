// Package doctor looks at a machine and says whether Sinawi can run on it: what
// was found, whether that is enough, and what to do where it is not. It changes
// nothing: what must be tried (network interfaces, nftables) is tried in a
// network namespace that vanishes with the try.
package doctor

import (
	"context"

	"github.com/sinawi/sinawi/internal/cli/language"
)

// Status says how bad a finding is.
type Status string

// The statuses, from good to bad. Only Fail keeps Sinawi from working.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is the result of one check.
type Finding struct {
	Name   language.Text
	Status Status
	Found  string        // what is there, in the system's own words
	Fix    language.Text // what to do; empty where nothing needs doing
}

// Options says what the machine is to be judged for.
type Options struct {
	DataDir   string
	APIPort   int
	AgentPort int
	// Running says that the instance runs already, so that its ports are taken
	// by itself.
	Running bool
}

// check is one question to the machine.
type check struct {
	name language.Text
	ask  func(ctx context.Context, o Options) Finding
}

// Examine asks every question and returns the findings in a fixed order.
func Examine(ctx context.Context, o Options) []Finding {
	var out []Finding
	for _, c := range checks() {
		f := c.ask(ctx, o)
		f.Name = c.name
		out = append(out, f)
	}
	return out
}

// Worst returns the worst status among the findings.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		if f.Status == Fail || (f.Status == Warn && worst == OK) {
			worst = f.Status
		}
	}
	return worst
}

func checks() []check {
	return []check{
		{language.Text{EN: "kernel", KO: "커널"}, kernel},
		{language.Text{EN: "privileges", KO: "권한"}, privileges},
		{language.Text{EN: "cgroups", KO: "cgroup"}, cgroups},
		{language.Text{EN: "overlayfs", KO: "overlayfs"}, overlay},
		{language.Text{EN: "seccomp", KO: "seccomp"}, seccomp},
		{language.Text{EN: "network interfaces", KO: "네트워크 인터페이스"}, interfaces},
		{language.Text{EN: "nftables", KO: "nftables"}, nftTables},
		{language.Text{EN: "IP forwarding", KO: "IP 포워딩"}, forwarding},
		{language.Text{EN: "file watches", KO: "파일 감시 한도"}, inotify},
		{language.Text{EN: "API port", KO: "API 포트"}, apiPort},
		{language.Text{EN: "agent port", KO: "에이전트 포트"}, agentPort},
		{language.Text{EN: "disk", KO: "디스크"}, disk},
		{language.Text{EN: "memory", KO: "메모리"}, memory},
		{language.Text{EN: "clock", KO: "시계"}, clock},
		{language.Text{EN: "host name", KO: "호스트 이름"}, hostName},
		{language.Text{EN: "name resolution", KO: "이름 풀이"}, resolver},
	}
}

func ok(found string) Finding { return Finding{Status: OK, Found: found} }

func fail(found, en, ko string) Finding {
	return Finding{Status: Fail, Found: found, Fix: language.Text{EN: en, KO: ko}}
}

func warn(found, en, ko string) Finding {
	return Finding{Status: Warn, Found: found, Fix: language.Text{EN: en, KO: ko}}
}
