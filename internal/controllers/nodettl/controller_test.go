package nodettl

import "testing"

func TestNext(t *testing.T) {
	for _, c := range []struct{ step, nodes, want int }{
		{0, 1, 0}, {0, 100, 0}, {0, 101, 15}, {1, 95, 15}, {1, 89, 0}, {0, 700, 30}, {0, 1500, 60}, {0, 5000, 300}, {0, 20000, 600}, {4, 1700, 60}, {4, 0, 0},
	} {
		if got := ttl(next(c.step, c.nodes)); got != c.want {
			t.Errorf("%d nodes from step %d: %d s, want %d", c.nodes, c.step, got, c.want)
		}
	}
}
