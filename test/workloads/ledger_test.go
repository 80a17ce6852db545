package workloads

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/lab/simnode"
)

// ledger is what the nodes have seen run, whatever the server knows of it.
type ledger struct {
	mu        sync.Mutex // guards the fields below
	running   map[types.NamespacedName]types.UID
	perApp    map[string]int
	succeeded map[string]map[string]int // by job and index
	least     map[string]int            // pods of an app that must always run
	starts    int
	wrongs    []string
}

func newLedger() *ledger {
	return &ledger{
		running: map[types.NamespacedName]types.UID{}, perApp: map[string]int{},
		succeeded: map[string]map[string]int{}, least: map[string]int{},
	}
}

// seen books a start or an end.
func (l *ledger) seen(e simnode.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := types.NamespacedName{Namespace: e.Pod.Namespace, Name: e.Pod.Name}
	app := e.Pod.Labels["app"]
	if e.Running {
		if other, yes := l.running[name]; yes {
			l.wrongs = append(l.wrongs, fmt.Sprintf("pod %s runs twice: %s and %s", name, other, e.Pod.UID))
		}
		l.running[name] = e.Pod.UID
		l.perApp[app]++
		l.starts++
		return
	}
	if l.running[name] == e.Pod.UID {
		delete(l.running, name)
	}
	l.perApp[app]--
	if job := e.Pod.Labels[batchv1.JobNameLabel]; job != "" && e.Code == 0 {
		if l.succeeded[job] == nil {
			l.succeeded[job] = map[string]int{}
		}
		l.succeeded[job][e.Pod.Labels[batchv1.JobCompletionIndexAnnotation]]++
	}
	if least, watched := l.least[app]; watched && l.perApp[app] < least {
		l.wrongs = append(l.wrongs, fmt.Sprintf("only %d pods of %s run after %s ended, want %d at least", l.perApp[app], app, name, least))
	}
}

// watchLevels has the ledger note when fewer pods of an app run.
func (l *ledger) watchLevels(least map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.least, least)
}

// successes are how many pods of a job ended well, by index.
func (l *ledger) successes(job string) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.succeeded[job])
}

// takeWrongs returns what should not have happened, once.
func (l *ledger) takeWrongs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.wrongs)
	l.wrongs = nil
	return out
}

func (l *ledger) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d containers started, %d jobs ended, %d run now", l.starts, len(l.succeeded), len(l.running))
}
