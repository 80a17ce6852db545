package storage

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// zoneLabels are the labels by which volumes say where they are, each with its
// name on nodes old and new.
var zoneLabels = map[string][]string{
	corev1.LabelTopologyZone:            {corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone},
	corev1.LabelTopologyRegion:          {corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion},
	corev1.LabelFailureDomainBetaZone:   {corev1.LabelFailureDomainBetaZone, corev1.LabelTopologyZone},
	corev1.LabelFailureDomainBetaRegion: {corev1.LabelFailureDomainBetaRegion, corev1.LabelTopologyRegion},
}

// severalZones separates the zones of a volume that is in several.
const severalZones = "__"

func (p *Plan) refusalByZone(n engine.NodeView) []string {
	set := n.Object().Labels
	inZones := false
	for key := range zoneLabels {
		if _, ok := set[key]; ok {
			inZones = true
		}
	}
	if !inZones {
		return nil // a cluster without zones
	}
	for _, v := range p.bound {
		if v == nil {
			continue
		}
		for key, names := range zoneLabels {
			if zones, ok := v.Labels[key]; ok && !inZone(set, names, strings.Split(zones, severalZones)) {
				return []string{reasonZone}
			}
		}
	}
	return nil
}

func inZone(set map[string]string, names, zones []string) bool {
	for _, name := range names {
		if value, ok := set[name]; ok {
			return slices.Contains(zones, value)
		}
	}
	return false
}

// isDisk reports whether a volume is a disk that two pods of a node may not both
// write to.
func isDisk(v *corev1.Volume) bool {
	return v.GCEPersistentDisk != nil || v.AWSElasticBlockStore != nil || v.ISCSI != nil || v.RBD != nil
}

func sharesDisk(a, b *corev1.Pod) bool {
	for i := range a.Spec.Volumes {
		for j := range b.Spec.Volumes {
			if conflict(&a.Spec.Volumes[i], &b.Spec.Volumes[j]) {
				return true
			}
		}
	}
	return false
}

func conflict(a, b *corev1.Volume) bool {
	switch {
	case a.GCEPersistentDisk != nil && b.GCEPersistentDisk != nil:
		x, y := a.GCEPersistentDisk, b.GCEPersistentDisk
		return x.PDName == y.PDName && (!x.ReadOnly || !y.ReadOnly)
	case a.AWSElasticBlockStore != nil && b.AWSElasticBlockStore != nil:
		return a.AWSElasticBlockStore.VolumeID == b.AWSElasticBlockStore.VolumeID
	case a.ISCSI != nil && b.ISCSI != nil:
		return a.ISCSI.IQN == b.ISCSI.IQN && (!a.ISCSI.ReadOnly || !b.ISCSI.ReadOnly)
	case a.RBD != nil && b.RBD != nil:
		x, y := a.RBD, b.RBD
		return x.RBDPool == y.RBDPool && x.RBDImage == y.RBDImage && (!x.ReadOnly || !y.ReadOnly) &&
			slices.ContainsFunc(x.CephMonitors, func(m string) bool { return slices.Contains(y.CephMonitors, m) })
	}
	return false
}
