package storage

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/volume"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// use is what claims of one class want of what there is.
type use struct{ wanted, total int64 }

// Scored is the rule by which nodes are told apart, "" when they are not.
func (p *Plan) Scored() (rule engine.Rule, relative bool) {
	if len(p.open) == 0 || len(p.shape) == 0 {
		return "", false
	}
	return engine.RuleVolumeBinding, false
}

// Score is higher the more of the storage that the node would give is left: of the
// volumes that are there, or else of what drivers have to make new ones of.
func (p *Plan) Score(n engine.NodeView) int64 {
	node := n.Object()
	d, reason := p.on(node)
	if reason != "" {
		return 0
	}
	uses := map[string]*use{}
	of := func(class string) *use {
		if uses[class] == nil {
			uses[class] = &use{}
		}
		return uses[class]
	}
	for _, b := range d.Bind {
		v, claim := p.world.volumes[b.Volume], p.world.claims[b.Claim]
		u := of(volume.GetPersistentVolumeClass(v))
		u.wanted += requested(claim)
		u.total += v.Spec.Capacity.Storage().Value()
	}
	if len(d.Bind) == 0 {
		for _, key := range d.Provision {
			claim := p.world.claims[key]
			class := p.world.classOf(claim)
			if most, _ := p.world.capacityFor(class, claim, node); most != nil {
				u := of(class.Name)
				u.wanted += requested(claim)
				u.total = most.Value()
			}
		}
	}
	return p.mean(uses)
}

func requested(claim *corev1.PersistentVolumeClaim) int64 {
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	return size.Value()
}

func (p *Plan) mean(uses map[string]*use) int64 {
	if len(uses) == 0 {
		return 0
	}
	sum := int64(0)
	for _, u := range uses {
		percent := int64(100)
		if u.total > 0 && u.wanted <= u.total {
			percent = u.wanted * 100 / u.total
		}
		sum += engine.Shaped(p.shape, percent)
	}
	return int64(math.Round(float64(sum) / float64(len(uses))))
}
