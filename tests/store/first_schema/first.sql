BEGIN TRANSACTION;
CREATE TABLE attempts (
	id TEXT NOT NULL, 
	copy TEXT NOT NULL, 
	job TEXT NOT NULL, 
	printer TEXT NOT NULL, 
	state TEXT NOT NULL, 
	session TEXT NOT NULL, 
	phase TEXT, 
	pause TEXT NOT NULL, 
	fenced BOOLEAN NOT NULL, 
	take_back TEXT NOT NULL, 
	why_back TEXT NOT NULL, 
	pause_wanted BOOLEAN NOT NULL, 
	resume TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	accepted BOOLEAN NOT NULL, 
	cause TEXT NOT NULL, 
	message TEXT NOT NULL, 
	restored BOOLEAN NOT NULL, 
	assigned_at DOUBLE NOT NULL, 
	armed_at DOUBLE, 
	started_at DOUBLE, 
	lost_at DOUBLE, 
	ended_at DOUBLE, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT ck_attempts_ended_at CHECK ((ended_at IS NOT NULL) = (state = 'ended')), 
	CONSTRAINT ck_attempts_accepted_complete CHECK (NOT accepted OR outcome = 'complete'), 
	CONSTRAINT ck_attempts_id CHECK (id <> ''), 
	CONSTRAINT ck_attempts_outcome_ended CHECK (outcome = '' OR state = 'ended'), 
	CONSTRAINT ck_attempts_outcome CHECK (outcome IN ('', 'complete', 'failed', 'cancelled', 'not_started', 'unknown')), 
	CONSTRAINT ck_attempts_phase CHECK (phase IN ('preparing', 'prepared', 'starting', 'printing', 'paused', 'ended')), 
	CONSTRAINT ck_attempts_state CHECK (state IN ('assigned', 'armed', 'started', 'lost', 'ended')), 
	CONSTRAINT ck_attempts_take_back CHECK (take_back IN ('', 'withdraw', 'cancel')), 
	CONSTRAINT fk_attempts_copy_job FOREIGN KEY(copy, job) REFERENCES copies (id, job), 
	CONSTRAINT fk_attempts_printer FOREIGN KEY(printer) REFERENCES printers (id)
);
INSERT INTO "attempts" VALUES('a-assigned','c-open-2','j-active','assigned','assigned','','preparing','',0,'','',0,'','',0,'','',0,1700040000.0,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('a-armed','c-open-3','j-active','resting','armed','s-1','prepared','',0,'withdraw','the printer is held',0,'','',0,'','',1,1700040000.0,1700050000.0,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('a-started','c-open-1','j-active','voron','started','session-new','paused','pause-3',1,'','',1,'pause-3','',0,'','',0,1700040000.0,1700050000.0,1700050000.0,NULL,NULL);
INSERT INTO "attempts" VALUES('a-lost','c-open-4','j-active','lost','lost','','printing','',0,'withdraw','',0,'','',0,'','',0,1700040000.0,NULL,1700050000.0,1700060000.0,NULL);
INSERT INTO "attempts" VALUES('a-accepted','c-done','j-active','voron','ended','','ended','',0,'','',0,'','complete',1,'','',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
INSERT INTO "attempts" VALUES('a-surplus','c-done','j-active','voron','ended','','ended','',0,'','',0,'','complete',0,'','',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
INSERT INTO "attempts" VALUES('a-failed','c-open-2','j-active','voron','ended','','ended','',0,'','',0,'','failed',0,'klipper_error','Heater extruder not heating: „Düse“ prüfen',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
INSERT INTO "attempts" VALUES('a-cancelled','c-dropped','j-active','voron','ended','','ended','',0,'cancel','',0,'','cancelled',0,'','',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
INSERT INTO "attempts" VALUES('a-not-started','c-open-1','j-active','voron','ended','','ended','',0,'','',0,'','not_started',0,'withdrawn','',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
INSERT INTO "attempts" VALUES('a-unknown','c-held','j-active','voron','ended','','ended','',0,'','',0,'','unknown',0,'host_forgot','',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
INSERT INTO "attempts" VALUES('a-completed','c-completed','j-completed','voron','ended','','ended','',0,'','',0,'','complete',1,'','',0,1700040000.0,NULL,NULL,NULL,1700060000.0);
CREATE TABLE copies (
	id TEXT NOT NULL, 
	job TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	failures BIGINT NOT NULL, 
	misses BIGINT NOT NULL, 
	front_at DOUBLE, 
	CONSTRAINT pk_copies PRIMARY KEY (id), 
	CONSTRAINT ck_copies_id CHECK (id <> ''), 
	CONSTRAINT ck_copies_state CHECK (state IN ('open', 'held', 'done', 'dropped')), 
	CONSTRAINT ck_copies_failures CHECK (failures >= 0), 
	CONSTRAINT ck_copies_misses CHECK (misses >= 0), 
	CONSTRAINT ck_copies_number CHECK (number BETWEEN 1 AND 10000), 
	CONSTRAINT fk_copies_job FOREIGN KEY(job) REFERENCES jobs (id), 
	CONSTRAINT uq_copies_id_job UNIQUE (id, job), 
	CONSTRAINT uq_copies_job_number UNIQUE (job, number)
);
INSERT INTO "copies" VALUES('c-open-1','j-active',1,'open','',0,0,NULL);
INSERT INTO "copies" VALUES('c-open-2','j-active',2,'open','',1,3,1700030000.0);
INSERT INTO "copies" VALUES('c-open-3','j-active',3,'open','',0,0,NULL);
INSERT INTO "copies" VALUES('c-open-4','j-active',4,'open','',0,0,NULL);
INSERT INTO "copies" VALUES('c-held','j-active',5,'held','nobody can say',0,0,NULL);
INSERT INTO "copies" VALUES('c-done','j-active',6,'done','',0,0,NULL);
INSERT INTO "copies" VALUES('c-dropped','j-active',7,'dropped','',0,0,NULL);
INSERT INTO "copies" VALUES('c-held-job','j-held',1,'open','',0,0,NULL);
INSERT INTO "copies" VALUES('c-completed','j-completed',1,'done','',0,0,NULL);
INSERT INTO "copies" VALUES('c-cancelled','j-cancelled',1,'dropped','',0,0,NULL);
CREATE TABLE files (
	sha256 TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	title TEXT NOT NULL, 
	metadata TEXT, 
	analysis TEXT, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_files PRIMARY KEY (sha256), 
	CONSTRAINT ck_files_sha256 CHECK (length(sha256) = 64 AND sha256 = lower(sha256)), 
	CONSTRAINT ck_files_size_bytes CHECK (size_bytes >= 0)
);
INSERT INTO "files" VALUES('1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a',321,'cube.gcode','Cube.gcode','{"material":"ASA","nozzle_mm":0.4}','{"lines":12}',1700000000.0);
INSERT INTO "files" VALUES('2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b',0,'gone.gcode','gone.gcode',NULL,NULL,1700000000.0);
CREATE TABLE history (
	number INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	kind TEXT NOT NULL, 
	who TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	job TEXT NOT NULL, 
	copy TEXT NOT NULL, 
	attempt TEXT NOT NULL, 
	printer TEXT NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT pk_history PRIMARY KEY (number)
);
INSERT INTO "history" VALUES(1,1700040000.0,'printer_added','local','http 127.0.0.1 ab12','','','','voron','');
INSERT INTO "history" VALUES(2,1700040000.0,'job_submitted','local','','j-active','','','','7 copies');
INSERT INTO "history" VALUES(5,1700040000.0,'attempt_started','','','j-active','c-open-1','a-started','voron','');
INSERT INTO "history" VALUES(6,1700040000.0,'host_runout','voron','','','','','voron','leer');
CREATE TABLE jobs (
	id TEXT NOT NULL, 
	title TEXT NOT NULL, 
	file_sha256 TEXT NOT NULL, 
	file_name TEXT NOT NULL, 
	file_title TEXT NOT NULL, 
	file_size_bytes BIGINT NOT NULL, 
	copies BIGINT NOT NULL, 
	requirements TEXT NOT NULL, 
	policy TEXT NOT NULL, 
	lane TEXT NOT NULL, 
	priority BIGINT NOT NULL, 
	rank DOUBLE NOT NULL, 
	deadline_at DOUBLE, 
	state TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	estimated_s DOUBLE, 
	filament_mm DOUBLE, 
	created_at DOUBLE NOT NULL, 
	finished_at DOUBLE, 
	reprint_of TEXT NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT ck_jobs_finished_at CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'cancelled'))), 
	CONSTRAINT ck_jobs_id CHECK (id <> ''), 
	CONSTRAINT ck_jobs_lane CHECK (lane IN ('express', 'standard')), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('active', 'held', 'completed', 'cancelled')), 
	CONSTRAINT ck_jobs_copies CHECK (copies BETWEEN 1 AND 10000), 
	CONSTRAINT ck_jobs_file_size_bytes CHECK (file_size_bytes >= 0)
);
INSERT INTO "jobs" VALUES('j-active','Würfel „20“','1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a','cube.gcode','Cube.gcode',321,7,'{"material": "ASA", "nozzle_mm": 0.4, "tags": ["enclosed"], "printers": ["voron", "lost"]}','{"offline_grace_s": null, "fence": false, "retries": 1}','standard',5,-2.5,1800000000.0,'active','','local','["customer-12"]',3600.0,4321.5,1700000000.0,NULL,'');
INSERT INTO "jobs" VALUES('j-held','Würfel „20“','1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a','cube.gcode','Cube.gcode',321,1,'{}','{}','express',0,1.0,NULL,'held','a person wants to look','local','[]',NULL,NULL,1700000000.0,NULL,'');
INSERT INTO "jobs" VALUES('j-completed','Würfel „20“','2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b','cube.gcode','Cube.gcode',321,1,'{}','{}','standard',0,1.0,NULL,'completed','','local','[]',NULL,NULL,1700000000.0,1700010000.0,'');
INSERT INTO "jobs" VALUES('j-cancelled','Würfel „20“','1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a','cube.gcode','Cube.gcode',321,1,'{}','{}','standard',0,1.0,NULL,'cancelled','','','[]',NULL,NULL,1700000000.0,1700020000.0,'j-completed');
CREATE TABLE moonfleet_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT moonfleet_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "moonfleet_version" VALUES('0001');
CREATE TABLE printers (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	generation BIGINT NOT NULL, 
	issued TEXT, 
	session TEXT NOT NULL, 
	pending_session TEXT NOT NULL, 
	pending_generation BIGINT NOT NULL, 
	superseded TEXT NOT NULL, 
	machine TEXT NOT NULL, 
	hold TEXT NOT NULL, 
	clone BOOLEAN NOT NULL, 
	maintenance BOOLEAN NOT NULL, 
	tags TEXT NOT NULL, 
	location TEXT NOT NULL, 
	printed_s DOUBLE NOT NULL, 
	completed BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	refused_in_row BIGINT NOT NULL, 
	report TEXT, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_printers PRIMARY KEY (id), 
	CONSTRAINT ck_printers_id CHECK (id <> ''), 
	CONSTRAINT ck_printers_completed CHECK (completed >= 0), 
	CONSTRAINT ck_printers_failed CHECK (failed >= 0), 
	CONSTRAINT ck_printers_generation CHECK (generation >= 0), 
	CONSTRAINT ck_printers_pending_generation CHECK (pending_generation >= 0), 
	CONSTRAINT ck_printers_refused_in_row CHECK (refused_in_row >= 0)
);
INSERT INTO "printers" VALUES('voron','Voron, links',41,'{"attempt": "a-started", "want": "run", "copy": "c-open-1", "job": "j-active", "session": "session-new", "fence_s": 120.0, "file": {"name": "cube.gcode", "url": "http://127.0.0.1:8008/api/v1/attempts/a-started/file", "sha256": "1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a", "size_bytes": 321}}','session-new','',0,'["session-old"]','cpu-1/data/mcu-1','',0,0,'["enclosed","asa"]','Keller',86400.5,17,2,0,'{"session": "session-new", "sequence": 0, "klipper": {"link": "ready", "print_state": "printing", "filename": "moonfleet/a-started/cube.gcode"}, "attempts": [{"attempt": "a-started", "copy": "c-open-1", "job": "j-active", "phase": "printing"}], "refusals": [{"code": "printing", "text": "Klipper is printing"}], "bed": {"clear": false, "token": "bed-7"}, "profile": {"kinematics": "corexy", "model": "Voron 2.4", "size_max_mm": [350.0, 350.0, 340.0], "nozzle_mm": 0.4}, "filament": {"material": "ASA", "color": "#222222"}, "machine": "cpu-1/data/mcu-1", "section": true}',1700000000.0);
INSERT INTO "printers" VALUES('cloned','Printer',3,NULL,'','',0,'[]','','two hosts claim to be this printer',1,0,'[]','',0.0,0,0,0,NULL,1700000000.0);
INSERT INTO "printers" VALUES('resting','Printer',9,NULL,'','s-next',9,'[]','','',0,0,'[]','',0.0,0,0,2,NULL,1700000000.0);
INSERT INTO "printers" VALUES('serviced','Printer',0,NULL,'','',0,'[]','','',0,1,'[]','',0.0,0,0,0,NULL,1700000000.0);
INSERT INTO "printers" VALUES('assigned','Printer',5,NULL,'','',0,'[]','','',0,0,'[]','',0.0,0,0,0,NULL,1700000000.0);
INSERT INTO "printers" VALUES('lost','Printer',6,NULL,'','',0,'[]','','',0,0,'[]','',0.0,0,0,0,NULL,1700000000.0);
CREATE TABLE reign (
	id INTEGER NOT NULL, 
	term BIGINT NOT NULL, 
	CONSTRAINT pk_reign PRIMARY KEY (id), 
	CONSTRAINT ck_reign_one_row CHECK (id = 1), 
	CONSTRAINT ck_reign_term CHECK (term >= 0)
);
INSERT INTO "reign" VALUES(1,12);
CREATE TABLE settings (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_settings PRIMARY KEY ("key")
);
INSERT INTO "settings" VALUES('example','{"kept":[1,2.5,"drei"]}');
CREATE INDEX ix_jobs_created_at_id ON jobs (created_at, id);
CREATE INDEX ix_jobs_file_sha256 ON jobs (file_sha256);
CREATE INDEX ix_jobs_finished ON jobs (finished_at, id) WHERE finished_at IS NOT NULL;
CREATE INDEX ix_jobs_queue ON jobs (lane, priority, rank) WHERE finished_at IS NULL;
CREATE INDEX ix_attempts_copy ON attempts (copy);
CREATE INDEX ix_attempts_job ON attempts (job);
CREATE INDEX ix_attempts_printer_assigned_at_id ON attempts (printer, assigned_at, id);
CREATE UNIQUE INDEX one_accepted_attempt_per_copy ON attempts (copy) WHERE accepted;
CREATE UNIQUE INDEX one_live_attempt_per_printer ON attempts (printer) WHERE state <> 'ended';
CREATE INDEX ix_files_created_at_sha256 ON files (created_at, sha256);
CREATE INDEX ix_history_attempt ON history (attempt, number) WHERE attempt <> '';
CREATE INDEX ix_history_job ON history (job, number) WHERE job <> '';
CREATE INDEX ix_history_printer ON history (printer, number) WHERE printer <> '';
COMMIT;
