package engine

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// Bounds between which the size of images that are there already counts.
const (
	minImageBytes = 23 << 20
	maxImageBytes = 1000 << 20 // for each container
)

// imageSpread is where one image is.
type imageSpread struct {
	size  int64
	nodes int64
}

// setImages takes in which images a node has.
func (e *Engine) setImages(n *node, obj *corev1.Node) {
	had := n.images
	n.images = nil
	if obj != nil {
		for i := range obj.Status.Images {
			for _, name := range obj.Status.Images[i].Names {
				if n.images == nil {
					n.images = map[string]bool{}
				}
				name = demand.WithTag(name)
				if n.images[name] {
					continue
				}
				n.images[name] = true
				s := e.images[name]
				if s == nil {
					s = &imageSpread{}
					e.images[name] = s
				}
				s.size = obj.Status.Images[i].SizeBytes
				s.nodes++
			}
		}
	}
	for name := range had {
		s := e.images[name]
		if s.nodes--; s.nodes == 0 {
			delete(e.images, name)
		}
	}
}

// imageScore is from 0 to 100: how much of the class's images a node has, where
// images that few nodes have count less, so that they do not gather all pods.
func (e *Engine) imageScore(r *request, present uint32) int64 {
	if present == 0 || e.known == 0 {
		return 0
	}
	sum := int64(0)
	for i, name := range r.images {
		if s := e.images[name]; present&(1<<i) != 0 && s != nil {
			sum += int64(float64(s.size) * float64(s.nodes) / float64(e.known))
		}
	}
	limit := int64(maxImageBytes) * int64(len(r.images))
	sum = min(max(sum, minImageBytes), limit)
	return 100 * (sum - minImageBytes) / (limit - minImageBytes)
}
