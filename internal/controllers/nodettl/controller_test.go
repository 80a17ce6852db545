package nodettl

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ step, nodes, want int }{
		{0, 1, 0}, {0, 100, 0}, {0, 101, 15}, {1, 95, 15}, {1, 89, 0}, {0, 700, 30}, {0, 1500, 60}, {0, 5000, 300}, {0, 20000, 600}, {4, 1700, 60}, {4, 0, 0},
	} {
		if got := ttl(next(c.step, c.nodes)); got != c.want {
			t.Errorf("%d nodes from step %d: %d s, want %d", c.nodes, c.step, got, c.want)
		}
	}
}

// cluster is its nodes: those that are read, and how often they were written.
type cluster struct {
	nodes  map[string]*corev1.Node
	writes int
}

type reads struct {
	cache.Cache
	*cluster
}

type writes struct {
	client.Client
	*cluster
}

func (c reads) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	for _, n := range c.nodes {
		list.(*corev1.NodeList).Items = append(list.(*corev1.NodeList).Items, *n)
	}
	return nil
}

func (c writes) Update(_ context.Context, obj client.Object, _ ...client.UpdateOption) error {
	c.nodes[obj.GetName()] = obj.(*corev1.Node)
	c.cluster.writes++
	return nil
}

// Nodes that are there are told of a step once the cluster stays at it, and once.
func TestGrowingClusterIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &cluster{nodes: map[string]*corev1.Node{}}
		c := &Controller{Deps: loop.Deps{Client: writes{cluster: all}, Cache: reads{cluster: all}}, rest: rest}
		told := 0
		for i := range 600 {
			node := &corev1.Node{}
			node.Name = fmt.Sprint(i)
			if c.count(nil, node) {
				told++
			}
			if _, err := c.Part().Shape(node); err != nil {
				t.Fatal(err)
			}
			all.nodes[node.Name] = node
			time.Sleep(rest / 200)
			if again, err := c.tellAll(t.Context(), loop.Key{}); err != nil || c.stale != (again > 0) {
				t.Fatalf("after %d nodes: again %s, stale %v: %v", i, again, c.stale, err)
			}
		}
		if told != 2 || all.writes != 100 {
			t.Errorf("came to %d steps and wrote %d nodes, want 2 and the 100 that were there before the first", told, all.writes)
		}
		time.Sleep(rest)
		if _, err := c.tellAll(t.Context(), loop.Key{}); err != nil {
			t.Fatal(err)
		}
		for name, node := range all.nodes {
			if got := node.Annotations[corev1.ObjectTTLAnnotationKey]; got != "30" {
				t.Errorf("node %s keeps what it read for %q s, want 30", name, got)
			}
		}
		if all.writes != 100+500 {
			t.Errorf("wrote nodes %d times", all.writes)
		}
	})
}
