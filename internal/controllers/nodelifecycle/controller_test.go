package nodelifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// statuses takes every write.
type statuses struct{ client.Client }

func (s statuses) Status() client.SubResourceWriter { return taken{} }

type taken struct{ client.SubResourceWriter }

func (taken) Update(context.Context, client.Object, ...client.SubResourceUpdateOption) error {
	return nil
}

// Where many nodes seem to be dead at once, those that are heard before their turn are
// not taken for it.
func TestManySilentNodesAreMarkedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(loop.Deps{Client: statuses{}, Log: slog.New(slog.DiscardHandler), Events: &record.FakeRecorder{}}, Options{})
		var nodes []*corev1.Node
		for i := range 2 * marksAtOnce {
			node := named(fmt.Sprint(i), "zone", corev1.ConditionTrue)
			nodes = append(nodes, node)
			c.hear(node.Name, sign{lease: time.Now()})
		}
		look := func() (marked, waiting int) {
			for i, node := range nodes {
				node, err := c.markSilent(t.Context(), node)
				if err != nil {
					t.Fatal(err)
				}
				nodes[i] = node
				again, err := c.shape(node)
				switch {
				case err != nil:
					t.Fatal(err)
				case known(node):
					marked++
				case again >= lookAgain && again < 2*lookAgain:
					waiting++
				case again < c.grace-time.Second:
					t.Errorf("node %s is looked at again in %s", node.Name, again)
				}
			}
			return marked, waiting
		}
		if marked, waiting := look(); marked != 0 || waiting != 0 {
			t.Errorf("%d marked and %d waiting at first", marked, waiting)
		}
		time.Sleep(c.grace)
		if marked, waiting := look(); marked != marksAtOnce || waiting != len(nodes)-marked {
			t.Errorf("%d marked and %d waiting, want %d and the others", marked, waiting, marksAtOnce)
		}
		for _, node := range nodes[marksAtOnce+marksPerSecond:] {
			c.hear(node.Name, sign{lease: time.Now()})
		}
		time.Sleep(time.Second)
		if marked, waiting := look(); marked != marksAtOnce+marksPerSecond || waiting != 0 {
			t.Errorf("%d marked and %d waiting a second later, want all that were not heard", marked, waiting)
		}
	})
}

// A node that was made anew is in the cache before its coming is noted.
func TestNodeThatWasNeverHeardHasItsTime(t *testing.T) {
	c := New(loop.Deps{}, Options{})
	if left := c.silentIn(named("new", "zone", corev1.ConditionTrue), time.Now()); left != c.grace {
		t.Errorf("is silent in %s, want %s", left, c.grace)
	}
}
