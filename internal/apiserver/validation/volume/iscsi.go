package volume

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// The three ways to name an iSCSI initiator or target, by prefix.
var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

const iscsiTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

// iscsiTarget is what the two iSCSI sources share.
type iscsiTarget struct {
	portal, iqn   string
	lun           int32
	chap          bool
	hasSecret     bool
	initiator     *string
	unknownPrefix string // wording for a name of no known form
}

func (t iscsiTarget) check(l *check.List, path *field.Path) {
	needed(l, path, "targetPortal", t.portal)
	if t.iqn == "" {
		l.Required(path.Child("iqn"), "")
	} else {
		t.name(l, path.Child("iqn"), t.iqn)
	}
	l.InRange(path.Child("lun"), int64(t.lun), 0, 255)
	if t.chap && !t.hasSecret {
		l.Required(path.Child("secretRef"), "")
	}
	if t.initiator != nil {
		t.name(l, path.Child("initiatorname"), *t.initiator)
	}
}

func (t iscsiTarget) name(l *check.List, path *field.Path, name string) {
	for prefix, form := range iscsiNames {
		if strings.HasPrefix(name, prefix) {
			if !form.MatchString(name) {
				l.Invalid(path, name, "must be valid format")
			}
			return
		}
	}
	l.Invalid(path, name, t.unknownPrefix)
}

func iscsi(l *check.List, s *corev1.ISCSIVolumeSource, path *field.Path) {
	iscsiTarget{
		portal: s.TargetPortal, iqn: s.IQN, lun: s.Lun, chap: s.DiscoveryCHAPAuth || s.SessionCHAPAuth,
		hasSecret: s.SecretRef != nil, initiator: s.InitiatorName,
		unknownPrefix: "must be valid format starting with iqn, eui, or naa",
	}.check(l, path)
}

func iscsiPersistent(l *check.List, s *corev1.ISCSIPersistentVolumeSource, volumeName string, path *field.Path) {
	iscsiTarget{
		portal: s.TargetPortal, iqn: s.IQN, lun: s.Lun, chap: s.DiscoveryCHAPAuth || s.SessionCHAPAuth,
		hasSecret: s.SecretRef != nil, initiator: s.InitiatorName, unknownPrefix: "must be valid format",
	}.check(l, path)
	if s.SecretRef != nil && s.SecretRef.Name == "" {
		l.Required(path.Child("secretRef", "name"), "")
	}
	if s.InitiatorName != nil && len(volumeName+":"+s.TargetPortal) > 64 {
		l.Invalid(path.Child("targetportal"), s.TargetPortal, iscsiTooLong)
	}
}
