"""Certificates for system tests, made by the openssl program in a folder."""

import subprocess

KEY_TYPES = {"rsa": "-newkey rsa:2048", "ec": "-newkey ec -pkeyopt ec_paramgen_curve:P-256", "ed25519": "-newkey ed25519"}
LARGE_KEY = "rsa:4096"  # a key type of its own: it takes seconds to make


class Authority:
    def __init__(self, folder, name="authority"):
        self.folder = folder
        folder.mkdir()
        self.pem = folder / "ca.pem"
        self._openssl(f"req -x509 {KEY_TYPES['ec']} -nodes -keyout ca.key -out ca.pem -days 10 -subj /CN={name}")

    def _openssl(self, words):
        done = subprocess.run(["openssl"] + words.split(), cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {words}: {done.stderr}")

    def revoke(self, *names):
        """The file of a list that has those certificates on it."""
        (self.folder / "ca.cnf").write_text("[ca]\ndefault_ca = here\n[here]\ndatabase = index.txt\ncertificate = ca.pem\n"
                                            "private_key = ca.key\ndefault_md = sha256\ndefault_crl_days = 10\n")
        (self.folder / "index.txt").touch()
        for name in names:
            self._openssl(f"ca -config ca.cnf -revoke {name}.pem")
        self._openssl("ca -config ca.cnf -gencrl -out crl.pem")
        return self.folder / "crl.pem"

    def make(self, name, key_type="ec", alternatives="DNS:server.test,IP:10.88.0.2,IP:10.88.0.1", self_signed=False, days=10):
        """The certificate's and the key's file. days: before it expires; -1, it did a day ago."""
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n")
        kind = KEY_TYPES.get(key_type, f"-newkey {key_type}")
        self._openssl(f"req -new {kind} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
        signer = f"-signkey {name}.key" if self_signed else "-CA ca.pem -CAkey ca.key -CAcreateserial"
        self._openssl(f"x509 -req -in {name}.csr {signer} -days {days} -extfile {name}.ext -out {name}.pem")
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"
